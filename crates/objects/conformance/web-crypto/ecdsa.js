export default async (print) => {
  const data = new TextEncoder().encode('signed');
  for (const [namedCurve, hash] of [['P-256', 'SHA-256'], ['P-384', 'SHA-384'], ['P-521', 'SHA-512'], ['P-521', 'SHA-384'], ['P-521', 'SHA-256']]) {
    const pair = await crypto.subtle.generateKey({ name: 'ECDSA', namedCurve }, true, ['sign', 'verify']); print(pair.privateKey.type, pair.publicKey.type, pair.privateKey.usages, pair.publicKey.usages, pair.publicKey.algorithm.namedCurve);
    const tag = await crypto.subtle.sign({ name: 'ECDSA', hash }, pair.privateKey, data); print(tag.byteLength, await crypto.subtle.verify({ name: 'ECDSA', hash }, pair.publicKey, tag, data), await crypto.subtle.verify({ name: 'ECDSA', hash }, pair.publicKey, tag, new Uint8Array(1)));
    for (const f of ['raw', 'spki', 'jwk']) { const out = await crypto.subtle.exportKey(f, pair.publicKey); const again = await crypto.subtle.importKey(f, out, { name: 'ECDSA', namedCurve }, true, ['verify']); print(f, out.byteLength ?? Object.keys(out).filter((k) => out[k] !== undefined).sort(), await crypto.subtle.verify({ name: 'ECDSA', hash }, again, tag, data)); }
    for (const f of ['pkcs8', 'jwk']) { const out = await crypto.subtle.exportKey(f, pair.privateKey); const again = await crypto.subtle.importKey(f, out, { name: 'ECDSA', namedCurve }, false, ['sign']); const t = await crypto.subtle.sign({ name: 'ECDSA', hash }, again, data); print(f, out.byteLength ?? Object.keys(out).filter((k) => out[k] !== undefined).sort(), await crypto.subtle.verify({ name: 'ECDSA', hash }, pair.publicKey, t, data)); }
  }
};
