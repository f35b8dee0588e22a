export default async (print) => {
  const w = await crypto.subtle.importKey('raw', new Uint8Array(32).fill(1), 'AES-GCM', false, ['wrapKey', 'unwrapKey']); const iv = new Uint8Array(12);
  const k = await crypto.subtle.importKey('raw', new Uint8Array([1, 2, 3]), { name: 'HMAC', hash: 'SHA-256' }, true, ['sign']);
  const wrapped = await crypto.subtle.wrapKey('raw', k, w, { name: 'AES-GCM', iv }); const back = await crypto.subtle.unwrapKey('raw', wrapped, w, { name: 'AES-GCM', iv }, { name: 'HMAC', hash: 'SHA-256' }, true, ['sign']);
  print([...new Uint8Array(await crypto.subtle.exportKey('raw', back))]);
};
