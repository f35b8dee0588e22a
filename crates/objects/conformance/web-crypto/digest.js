export default async (print) => {
  const hex = (b) => [...new Uint8Array(b)].map((x) => x.toString(16).padStart(2, '0')).join('');
  for (const h of ['SHA-1', 'sha-256', 'SHA-384', 'SHA-512', 'MD5']) print(h, hex(await crypto.subtle.digest(h, new TextEncoder().encode('abc'))));
  print(hex(await crypto.subtle.digest({ name: 'SHA-256' }, new Uint8Array(0))));
  try { await crypto.subtle.digest('SHA-3', new Uint8Array(1)); } catch (e) { print(e.name); }
  try { await crypto.subtle.digest('SHA-256', 'text'); } catch (e) { print(e.name); }
};
