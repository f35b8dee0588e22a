export default async (print) => {
  const pair = await crypto.subtle.generateKey('Ed25519', true, ['sign', 'verify']); const data = new Uint8Array([1, 2, 3]);
  const tag = await crypto.subtle.sign('Ed25519', pair.privateKey, data); print(tag.byteLength, await crypto.subtle.verify('Ed25519', pair.publicKey, tag, data), pair.publicKey.algorithm.name);
  const raw = await crypto.subtle.exportKey('raw', pair.publicKey); const again = await crypto.subtle.importKey('raw', raw, 'Ed25519', true, ['verify']); print(raw.byteLength, await crypto.subtle.verify('Ed25519', again, tag, data));
  const jwk = await crypto.subtle.exportKey('jwk', pair.privateKey); print(jwk.kty, jwk.crv, jwk.x.length, jwk.d.length);
};
