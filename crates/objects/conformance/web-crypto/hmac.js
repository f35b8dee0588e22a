export default async (print) => {
  const hex = (b) => [...new Uint8Array(b)].map((x) => x.toString(16).padStart(2, '0')).join('');
  const enc = (t) => new TextEncoder().encode(t);
  for (const hash of ['SHA-1', 'SHA-256', 'SHA-384', 'SHA-512']) {
    const key = await crypto.subtle.importKey('raw', enc('secret key'), { name: 'HMAC', hash }, true, ['sign', 'verify']);
    const tag = await crypto.subtle.sign('HMAC', key, enc('message')); print(hash, hex(tag), await crypto.subtle.verify('HMAC', key, tag, enc('message')), await crypto.subtle.verify('HMAC', key, tag, enc('other')));
    print(key.type, key.extractable, key.algorithm.name, key.algorithm.hash.name, key.algorithm.length, key.usages); const jwk = await crypto.subtle.exportKey('jwk', key); print(jwk.kty, jwk.k, jwk.alg, jwk.ext, jwk.key_ops);
  }
  const g = await crypto.subtle.generateKey({ name: 'HMAC', hash: 'SHA-256' }, true, ['sign']); print((await crypto.subtle.exportKey('raw', g)).byteLength);
  const no = await crypto.subtle.importKey('raw', enc('k'), { name: 'HMAC', hash: 'SHA-256' }, false, ['verify']);
  try { await crypto.subtle.exportKey('raw', no); } catch (e) { print(e.name); } try { await crypto.subtle.sign('HMAC', no, enc('x')); } catch (e) { print(e.name); }
  try { await crypto.subtle.importKey('raw', enc('k'), { name: 'HMAC', hash: 'SHA-256' }, false, ['encrypt']); } catch (e) { print(e.name); }
  try { await crypto.subtle.importKey('raw', enc('k'), { name: 'HMAC', hash: 'SHA-256' }, false, []); } catch (e) { print(e.name); }
};
