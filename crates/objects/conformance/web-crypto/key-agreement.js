export default async (print) => {
  const hex = (b) => [...new Uint8Array(b)].map((x) => x.toString(16).padStart(2, '0')).join('');
  const { subtle } = crypto;
  const jwk = { kty: 'EC', crv: 'P-256', x: 'gI0GAILBdu7T53akrFmMyGcsF3n5dO7MmwNBHKW5SV0', y: 'SLW_xSffzlPWrHEVI30DHM_4egVwt3NQqeUD7nMFpps', d: '0_NxaRPUMQoAJt50Gz8YiTr8gRTwyEaCumd-MToTmIo' };
  for (const [namedCurve, size] of [['P-256', 256], ['P-384', 384], ['P-521', 528]]) {
    const algorithm = { name: 'ECDH', namedCurve };
    const a = await subtle.generateKey(algorithm, true, ['deriveBits', 'deriveKey']), b = await subtle.generateKey(algorithm, true, ['deriveBits']);
    print(namedCurve, a.privateKey.algorithm.name, a.privateKey.usages, a.publicKey.usages, a.publicKey.type, a.publicKey.extractable);
    const one = await subtle.deriveBits({ name: 'ECDH', public: b.publicKey }, a.privateKey, size), two = await subtle.deriveBits({ name: 'ECDH', public: a.publicKey }, b.privateKey, size);
    print(hex(one) === hex(two), one.byteLength, hex(await subtle.deriveBits({ name: 'ECDH', public: b.publicKey }, a.privateKey, 128)) === hex(one).slice(0, 32));
    const key = await subtle.deriveKey({ name: 'ECDH', public: b.publicKey }, a.privateKey, { name: 'AES-GCM', length: 256 }, true, ['encrypt']);
    print(key.algorithm.name, key.algorithm.length, hex(await subtle.exportKey('raw', key)) === hex(one).slice(0, 64));
    for (const format of ['raw', 'spki', 'jwk']) {
      const again = await subtle.importKey(format, await subtle.exportKey(format, b.publicKey), algorithm, true, []);
      print(format, hex(await subtle.deriveBits({ name: 'ECDH', public: again }, a.privateKey, size)) === hex(one));
    }
    for (const format of ['pkcs8', 'jwk']) {
      const again = await subtle.importKey(format, await subtle.exportKey(format, a.privateKey), algorithm, false, ['deriveBits']);
      print(format, again.type, again.extractable, hex(await subtle.deriveBits({ name: 'ECDH', public: b.publicKey }, again, size)) === hex(one));
    }
  }
  const { d, ...open } = jwk;
  try {
    const mine = await subtle.importKey('jwk', jwk, { name: 'ECDH', namedCurve: 'P-256' }, true, ['deriveBits']), theirs = await subtle.importKey('jwk', open, { name: 'ECDH', namedCurve: 'P-256' }, true, []);
    print((await subtle.deriveBits({ name: 'ECDH', public: theirs }, mine, 256)).byteLength);
  } catch (e) { print(e.name); }
  // RFC 7748, 6.1
  const bytes = (text) => new Uint8Array(text.match(/../g).map((x) => parseInt(x, 16)));
  const pkcs8 = (secret) => new Uint8Array([...bytes('302e020100300506032b656e04220420'), ...bytes(secret)]);
  const bob = await subtle.importKey('pkcs8', pkcs8('5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb'), { name: 'X25519' }, true, ['deriveBits']);
  const alicePublic = await subtle.importKey('raw', bytes('8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a'), { name: 'X25519' }, true, []);
  print(hex(await subtle.deriveBits({ name: 'X25519', public: alicePublic }, bob, 256)));
  const x = await subtle.generateKey({ name: 'X25519' }, true, ['deriveBits', 'deriveKey']), y = await subtle.generateKey({ name: 'X25519' }, false, ['deriveBits']);
  const one = await subtle.deriveBits({ name: 'X25519', public: y.publicKey }, x.privateKey, 256), two = await subtle.deriveBits({ name: 'X25519', public: x.publicKey }, y.privateKey, 256);
  print(hex(one) === hex(two), one.byteLength, x.publicKey.usages, x.privateKey.usages, y.privateKey.extractable);
  for (const format of ['raw', 'spki', 'jwk']) {
    const out = await subtle.exportKey(format, x.publicKey), again = await subtle.importKey(format, out, { name: 'X25519' }, true, []);
    print(format, format === 'jwk' ? [out.kty, out.crv] : out.byteLength, hex(await subtle.deriveBits({ name: 'X25519', public: again }, y.privateKey, 256)) === hex(one));
  }
  const e = await subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, true, ['sign', 'verify']);
  const c = await subtle.generateKey({ name: 'ECDH', namedCurve: 'P-256' }, true, ['deriveBits']), f = await subtle.generateKey({ name: 'ECDH', namedCurve: 'P-384' }, true, ['deriveBits']);
  for (const [what, run] of [
    ['other algorithm', () => subtle.deriveBits({ name: 'ECDH', public: e.publicKey }, c.privateKey, 256)],
    ['other curve', () => subtle.deriveBits({ name: 'ECDH', public: f.publicKey }, c.privateKey, 256)],
    ['private', () => subtle.deriveBits({ name: 'ECDH', public: c.privateKey }, c.privateKey, 256)],
    ['too long', () => subtle.deriveBits({ name: 'ECDH', public: c.publicKey }, c.privateKey, 512)],
    ['no usage', () => subtle.generateKey({ name: 'ECDH', namedCurve: 'P-256' }, true, [])],
    ['usage of public', () => subtle.importKey('raw', new Uint8Array(65), { name: 'ECDH', namedCurve: 'P-256' }, true, ['deriveBits'])],
    ['low point', async () => { const low = await subtle.importKey('raw', new Uint8Array(32), { name: 'X25519' }, true, []); await subtle.deriveBits({ name: 'X25519', public: low }, x.privateKey, 256); }],
  ]) try { await run(); print(what, 'fine'); } catch (error) { print(what, error.name); }
};
