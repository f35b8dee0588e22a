export default async (print) => {
  const hex = (b) => [...new Uint8Array(b)].map((x) => x.toString(16).padStart(2, '0')).join('');
  const bytes = (text) => new Uint8Array(text.match(/../g).map((x) => parseInt(x, 16)));
  const text = (t) => new TextEncoder().encode(t);
  const { subtle } = crypto;
  for (const size of [16, 24, 32]) {
    const raw = new Uint8Array(size).map((_, i) => i), iv = new Uint8Array(16).fill(3);
    const cbc = await subtle.importKey('raw', raw, 'AES-CBC', true, ['encrypt', 'decrypt']);
    for (const plain of ['', 'sixteen bytes...', 'more than sixteen bytes']) {
      const sealed = await subtle.encrypt({ name: 'AES-CBC', iv }, cbc, text(plain));
      print(cbc.algorithm.name, cbc.algorithm.length, hex(sealed), new TextDecoder().decode(await subtle.decrypt({ name: 'AES-CBC', iv }, cbc, sealed)));
    }
    const ctr = await subtle.importKey('raw', raw, { name: 'AES-CTR' }, true, ['encrypt', 'decrypt']);
    const counter = bytes('f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff');
    for (const length of [128, 64, 8]) {
      const sealed = await subtle.encrypt({ name: 'AES-CTR', counter, length }, ctr, text('a text that is longer than two blocks of them'));
      print(length, hex(sealed), new TextDecoder().decode(await subtle.decrypt({ name: 'AES-CTR', counter, length }, ctr, sealed)));
    }
    const kw = await subtle.importKey('raw', raw, 'AES-KW', true, ['wrapKey', 'unwrapKey']);
    const inner = await subtle.importKey('raw', bytes('00112233445566778899aabbccddeeff'), 'AES-GCM', true, ['encrypt']);
    const wrapped = await subtle.wrapKey('raw', inner, kw, 'AES-KW');
    const back = await subtle.unwrapKey('raw', wrapped, kw, 'AES-KW', 'AES-CBC', true, ['encrypt']);
    print(hex(wrapped), hex(await subtle.exportKey('raw', back)), back.algorithm.name, back.usages);
    for (const key of [cbc, ctr, kw]) { const { alg, k, kty, ext, key_ops } = await subtle.exportKey('jwk', key); print(alg, k, kty, ext, key_ops); }
  }
  for (const name of ['AES-CBC', 'AES-CTR', 'AES-KW']) {
    const key = await subtle.generateKey({ name, length: 256 }, true, name === 'AES-KW' ? ['wrapKey'] : ['encrypt']);
    print(key.type, key.algorithm.length, (await subtle.exportKey('raw', key)).byteLength);
  }
  const cbc = await subtle.importKey('raw', new Uint8Array(16), 'AES-CBC', false, ['encrypt', 'decrypt']);
  const ctr = await subtle.importKey('raw', new Uint8Array(16), 'AES-CTR', false, ['encrypt']);
  const kw = await subtle.importKey('raw', new Uint8Array(16), 'AES-KW', false, ['wrapKey', 'unwrapKey']);
  for (const [what, run] of [
    ['short iv', () => subtle.encrypt({ name: 'AES-CBC', iv: new Uint8Array(12) }, cbc, new Uint8Array(4))],
    ['padding', () => subtle.decrypt({ name: 'AES-CBC', iv: new Uint8Array(16) }, cbc, new Uint8Array(16))],
    ['not blocks', () => subtle.decrypt({ name: 'AES-CBC', iv: new Uint8Array(16) }, cbc, new Uint8Array(15))],
    ['counter', () => subtle.encrypt({ name: 'AES-CTR', counter: new Uint8Array(8), length: 64 }, ctr, new Uint8Array(4))],
    ['length', () => subtle.encrypt({ name: 'AES-CTR', counter: new Uint8Array(16), length: 0 }, ctr, new Uint8Array(4))],
    ['repeats', () => subtle.encrypt({ name: 'AES-CTR', counter: new Uint8Array(16), length: 1 }, ctr, new Uint8Array(48))],
    ['unwrap', () => subtle.unwrapKey('raw', new Uint8Array(24), kw, 'AES-KW', 'AES-GCM', true, ['encrypt'])],
    ['usage', () => subtle.encrypt({ name: 'AES-CBC', iv: new Uint8Array(16) }, ctr, new Uint8Array(4))],
    ['bits', () => subtle.importKey('raw', new Uint8Array(17), 'AES-CBC', true, ['encrypt'])],
  ]) try { await run(); print(what, 'fine'); } catch (e) { print(what, e.name); }
};
