export default async (print) => {
  const { subtle } = crypto, F4 = new Uint8Array([1, 0, 1]), data = new TextEncoder().encode('signed');
  const attempt = async (what, run) => { try { print(what, await run()); } catch (e) { print(what, e.name); } };
  for (const [name, usages, more] of [['RSASSA-PKCS1-v1_5', ['sign', 'verify'], {}], ['RSA-PSS', ['verify', 'sign'], { saltLength: 32 }], ['RSA-OAEP', ['encrypt', 'decrypt', 'wrapKey', 'unwrapKey'], {}]]) {
    const algorithm = { name, modulusLength: 2048, publicExponent: F4, hash: 'SHA-256' };
    const { publicKey, privateKey } = await subtle.generateKey(algorithm, false, usages);
    for (const key of [publicKey, privateKey]) print(key.type, key.extractable, key.algorithm, key.usages);
    const jwk = await subtle.exportKey('jwk', publicKey); print(Object.keys(jwk).filter((k) => jwk[k] !== undefined).sort(), jwk.kty, jwk.alg, jwk.e, jwk.n.length, jwk.key_ops, jwk.ext);
    print((await subtle.exportKey('spki', publicKey)).byteLength);
    await attempt('private', () => subtle.exportKey('pkcs8', privateKey));
    if (name === 'RSA-OAEP') print(new TextDecoder().decode(await subtle.decrypt(name, privateKey, await subtle.encrypt(name, publicKey, data))));
    else { const tag = await subtle.sign({ name, ...more }, privateKey, data); print(tag.byteLength, await subtle.verify({ name, ...more }, publicKey, tag, data), await subtle.verify({ name, ...more }, publicKey, tag, new Uint8Array(1))); }
    const pair = await subtle.generateKey({ ...algorithm, publicExponent: new Uint8Array([3]), modulusLength: 2304 }, true, usages); print(pair.publicKey.algorithm, pair.privateKey.extractable);
    for (const format of ['pkcs8', 'jwk']) { const again = await subtle.importKey(format, await subtle.exportKey(format, pair.privateKey), algorithm, true, pair.privateKey.usages); print(format, again.algorithm.modulusLength, again.algorithm.publicExponent, JSON.stringify((await subtle.exportKey('jwk', again))) === JSON.stringify((await subtle.exportKey('jwk', pair.privateKey)))); }
    print((await subtle.exportKey('jwk', pair.publicKey)).n !== jwk.n);
  }
  const make = (change, usages = ['sign', 'verify']) => async () => { const { publicKey, privateKey } = await subtle.generateKey({ name: 'RSA-PSS', modulusLength: 2048, publicExponent: F4, hash: 'SHA-256', ...change }, true, usages); return [publicKey.algorithm, publicKey.usages, privateKey.usages]; };
  for (const [what, run] of [
    ['an exponent with zeros', make({ publicExponent: new Uint8Array([0, 1, 0, 1]) })], ['a buffer', make({ publicExponent: F4.buffer })], ['exponent 5', make({ publicExponent: new Uint8Array([5]) })],
    ['no exponent', make({ publicExponent: undefined })], ['an empty exponent', make({ publicExponent: new Uint8Array(0) })], ['a long exponent', make({ publicExponent: new Uint8Array(40).fill(255) })], ['a number', make({ publicExponent: 65537 })],
    ['text', make({ modulusLength: '2048' })], ['no length', make({ modulusLength: undefined })], ['2049', make({ modulusLength: 2049 })], ['2056', make({ modulusLength: 2056 })], ['0', make({ modulusLength: 0 })], ['NaN', make({ modulusLength: NaN })], ['248', make({ modulusLength: 248 })], ['16392', make({ modulusLength: 16392 })],
    ['SHA-1', make({ hash: 'SHA-1' })], ['SHA-512', make({ hash: { name: 'sha-512' } })], ['no digest', make({ hash: undefined })], ['SHA-3', make({ hash: 'SHA-3' })],
    ['no usage', make({}, [])], ['verify', make({}, ['verify'])], ['sign', make({}, ['sign'])], ['encrypt', make({}, ['encrypt'])],
    ['oaep to sign', make({ name: 'RSA-OAEP' }, ['sign'])], ['oaep to encrypt', make({ name: 'RSA-OAEP' }, ['encrypt', 'wrapKey'])], ['oaep to decrypt', make({ name: 'RSA-OAEP' }, ['decrypt'])],
  ]) await attempt(what, run);
};
