export default async (print) => {
  const hex = (b) => [...new Uint8Array(b)].map((x) => x.toString(16).padStart(2, '0')).join('');
  for (const size of [16, 24, 32]) {
    const key = await crypto.subtle.importKey('raw', new Uint8Array(size).fill(7), 'AES-GCM', true, ['encrypt', 'decrypt']); const iv = new Uint8Array(12).fill(1);
    const sealed = await crypto.subtle.encrypt({ name: 'AES-GCM', iv, additionalData: new Uint8Array([9]) }, key, new TextEncoder().encode('plain text')); print(hex(sealed), key.algorithm.length);
    print(new TextDecoder().decode(await crypto.subtle.decrypt({ name: 'AES-GCM', iv, additionalData: new Uint8Array([9]) }, key, sealed)));
    try { await crypto.subtle.decrypt({ name: 'AES-GCM', iv }, key, sealed); } catch (e) { print(e.name); }
    const bad = new Uint8Array(sealed); bad[0] ^= 1; try { await crypto.subtle.decrypt({ name: 'AES-GCM', iv, additionalData: new Uint8Array([9]) }, key, bad); } catch (e) { print(e.name); }
  }
  for (const length of [128, 192, 256]) { const g = await crypto.subtle.generateKey({ name: 'AES-GCM', length }, true, ['encrypt', 'decrypt']); const jwk = await crypto.subtle.exportKey('jwk', g); print(jwk.kty, jwk.alg, jwk.k.length, (await crypto.subtle.importKey('jwk', jwk, 'AES-GCM', true, ['decrypt'])).algorithm); }
  try { await crypto.subtle.importKey('raw', new Uint8Array(5), 'AES-GCM', true, ['encrypt']); } catch (e) { print(e.name); }
};
