// A key for this test alone, and what workerd signed with it.
const JWK = {"kty":"EC","crv":"P-521","x":"AIC0Lxejy8X37hdr1GR2NA16d7NV4X8TzHn6k-YqmS3Vw_Axa80iXL5GgG4ZKuH6dOqzDHvc840WiYE6Ge6Njuvl","y":"Aa50N-kFAXClPRZPIh4DyHkPxm4DTfzcuPNQL0bY9PXBQfmpwnpQGldwpOsF7CMrilWZ-AZyd20t_4a9rQebu-G0","d":"ADlgiQxSJrP1b2fXxqIFSCsL0Hk_xdWcGx-5OY9GtzHb22Y46SPOrJ1W6EtL_1eHoXdE3EQEY9gHkU8P9Av7R7P9"};
const PKCS8 = 'MIHuAgEAMBAGByqGSM49AgEGBSuBBAAjBIHWMIHTAgEBBEIAOWCJDFIms/VvZ9fGogVIKwvQeT/F1ZwbH7k5j0a3MdvbZjjpI86snVboS0v/V4ehd0TcRARj2AeRTw/0C/tHs/2hgYkDgYYABACAtC8Xo8vF9+4Xa9RkdjQNenezVeF/E8x5+pPmKpkt1cPwMWvNIly+RoBuGSrh+nTqswx73PONFomBOhnujY7r5QGudDfpBQFwpT0WTyIeA8h5D8ZuA0383LjzUC9G2PT1wUH5qcJ6UBpXcKTrBewjK4pVmfgGcndtLf+Gva0Hm7vhtA==';
const SIGNED = {
  'SHA-256': 'AE3PzuNtgRcW6e2M51YXdbJe49vQv68kZBZLEv+SOTvwNONsltB8/qEciRtLi/aokRdhzka1jfHC0JKXzfjM9mTCAeCwkipxgC4lwYXUSntX/LeTaUiHaHhevRjIDfGtqluBwlAcGFZEbKpHsiKGxO+jo7kp8e5h9o+26aEfdktdYjhS',
  'SHA-384': 'AckalZyCFgmNeJuZR9lQAZktRs6SJ5Acjkd446O5H1/xtUOOi6g6e3JLGVNWSaqnJNF/2loOq8W0erFcMsmlnvidAHyyXigctCQXhayyeM2TVmezsKcj7UvxszzCYnRC9Lqsp3cRw0JJsOEARZufjIYZ4WiDw34+0QyyhJCJYMW3DzlX',
  'SHA-512': 'ARvb2VR/Ymt6IEdy/KxhXkUyV+UFZ4qUylGhPjbm0cWb0H9V4bfAUdJK8Fyfb28rOqSP5LjtKDb+XPAMVAF0Tl6IAZtcXm2YgRBXrKsDPkb2jWEUtkgepv7UUtCaoUY5jQ3L+GCqsv+uPQjlurubK19ccIuUQYsFVTz4H9QRX3S7sBEp',
};
export default async (print) => {
  const { subtle } = crypto, data = new TextEncoder().encode('signed'), bytes = (t) => Uint8Array.from(atob(t), (c) => c.charCodeAt(0)), text = (b) => btoa(String.fromCharCode(...new Uint8Array(b)));
  const algorithm = { name: 'ECDSA', namedCurve: 'P-521' }, { d, ...open } = JWK;
  const own = await subtle.importKey('jwk', JWK, algorithm, true, ['sign']), other = await subtle.importKey('jwk', open, algorithm, true, ['verify']);
  print(own.type, own.algorithm, other.type, other.algorithm, text(await subtle.exportKey('pkcs8', own)) === PKCS8);
  for (const hash of ['SHA-256', 'SHA-384', 'SHA-512']) {
    const changed = bytes(SIGNED[hash]); changed[70] ^= 1;
    print(hash, await subtle.verify({ name: 'ECDSA', hash }, other, bytes(SIGNED[hash]), data), await subtle.verify({ name: 'ECDSA', hash }, other, changed, data), await subtle.verify({ name: 'ECDSA', hash }, other, bytes(SIGNED[hash]), new Uint8Array(1)), await subtle.verify({ name: 'ECDSA', hash }, other, new Uint8Array(3), data));
    const tag = await subtle.sign({ name: 'ECDSA', hash }, own, data); print(tag.byteLength, await subtle.verify({ name: 'ECDSA', hash }, other, tag, data));
  }
  const again = await subtle.importKey('pkcs8', bytes(PKCS8), algorithm, true, ['sign']); const jwk = await subtle.exportKey('jwk', again); print(jwk.d === JWK.d, jwk.x === JWK.x, jwk.y === JWK.y, jwk.crv, jwk.key_ops);
  const agree = { name: 'ECDH', namedCurve: 'P-521' };
  const mine = await subtle.importKey('jwk', JWK, agree, true, ['deriveBits', 'deriveKey']), theirs = await subtle.importKey('jwk', open, agree, true, []);
  print(text(await subtle.deriveBits({ name: 'ECDH', public: theirs }, mine, 528)), (await subtle.deriveBits({ name: 'ECDH', public: theirs }, mine, null)).byteLength);
  const key = await subtle.deriveKey({ name: 'ECDH', public: theirs }, mine, { name: 'AES-GCM', length: 192 }, true, ['encrypt']); print(key.algorithm, text(await subtle.exportKey('raw', key)));
  for (const [what, run] of [
    ['too long', () => subtle.deriveBits({ name: 'ECDH', public: theirs }, mine, 536)],
    ['a short d', () => subtle.importKey('jwk', { ...JWK, d: 'AQ' }, algorithm, true, ['sign'])],
    ['another d', () => subtle.importKey('jwk', { ...JWK, d: JWK.x }, algorithm, true, ['sign'])],
    ['a point of another curve', () => subtle.importKey('raw', new Uint8Array(97).fill(4), algorithm, true, ['verify'])],
    ['another curve', () => subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-511' }, true, ['sign'])],
  ]) try { await run(); print(what, 'fine'); } catch (e) { print(what, e.name); }
};
