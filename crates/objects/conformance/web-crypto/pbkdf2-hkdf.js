export default async (print) => {
  const hex = (b) => [...new Uint8Array(b)].map((x) => x.toString(16).padStart(2, '0')).join(''); const enc = (t) => new TextEncoder().encode(t);
  const pw = await crypto.subtle.importKey('raw', enc('password'), 'PBKDF2', false, ['deriveBits', 'deriveKey']);
  for (const hash of ['SHA-1', 'SHA-256', 'SHA-512']) print(hex(await crypto.subtle.deriveBits({ name: 'PBKDF2', hash, salt: enc('salt'), iterations: 1000 }, pw, 256)));
  const k = await crypto.subtle.deriveKey({ name: 'PBKDF2', hash: 'SHA-256', salt: enc('s'), iterations: 10 }, pw, { name: 'AES-GCM', length: 256 }, true, ['encrypt']); print(hex(await crypto.subtle.exportKey('raw', k)));
  const ikm = await crypto.subtle.importKey('raw', enc('input'), 'HKDF', false, ['deriveBits']); print(hex(await crypto.subtle.deriveBits({ name: 'HKDF', hash: 'SHA-256', salt: enc('salt'), info: enc('info') }, ikm, 336)));
  print((await crypto.subtle.deriveBits({ name: 'PBKDF2', hash: 'SHA-256', salt: enc('s'), iterations: 200000 }, pw, 256)).byteLength);
};
