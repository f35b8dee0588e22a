// A key for this test alone, and what workerd encrypted with it.
const PKCS8 = 'MIIEvAIBADANBgkqhkiG9w0BAQEFAASCBKYwggSiAgEAAoIBAQC5BDArr5EMoJ8pH9YAxv02rY2jhIi0kHfVzbcLDaLyReCd3MFT0K7BRxAazDnsC1TVqeQTD03t5cPa5L/REu1PTVeNRgjPqb7Hr7xpzdCN+lo593a97Y8HP2A+1MShhE9+c1lwiJbuNndi0bP53TYAXgfdGs4L1eI185wxv50hjkEXlAsszxP4T4BQw/9AGBHZOymIzkoSNKgtApsjbQD2Oj+TbiIdRghRniHayNPFTle8ljT9PhfOlUSQFJ4+/xv6LHVmD/QQjMjH9Ua/dL9XmaAr40zKsfNj1VFU6hqdmXy5R6MtX/+gTs+mGvAaBx1gUU7DI1gl63xyku5nuoOHAgMBAAECggEAAdR1xk89Owe+EahCWjQECyEAtqGEv9LYX8f7shZ91xgAo1V5bNYyjeM7C7809dqC1n4qRrn70yK9PJJooOCNpYW/tbwy/oLQsHIfhfH5yLDom/KQcEtDz+MjlShOxyr82LGHxlVdHZjYtqR/7pruggBsFkn0+1vJM5Y0pEiF44moi5c3esrB02b6LW88V+q/5VG4ohNYeblUGlQn3ybBQpc0HRl2f74TCRzY5nswVA5lLSyJR3sO/cvUxOkaIFnOK6c1Pozwf21PVkMd/ErDZ+cwSfNsYVo4HVdfBqpXzCWWPwTyFvSiuzpZBTLVIAoRm51uvS/JNK28hQHdBf9rWQKBgQDjYcAYXo1sVtfOI8j0ctzBP54YcFwNwQzg0K7ZiYvycnB9w7REoeHrszVyvR5ai5iizjxYr/bty+NbBeTcLiqJ5x1MjPfIw3Y9sBJ4P+4YrGapj+EFTVpMWXqUK/IA/CGTMu2d23KkacjQUGuArSUZR4xFuC2gr/7IlgaV8oztMwKBgQDQTWu8TPBKSHJpbFLisclATSV/cWUkl9kYnd0x9Wpph8qVsgkrcOVsexGOII2jn8rc1QfFY3+IdWBpDKWDuS5AxdFGAs50TJxxMj8f7l3Gjb0dz7OiahHM+GPqFvjdfEVxENIeUbg99lqdLIL+wpZTrv0ijF8rJwnZj57lROZIXQKBgH/hJ+IMu0jlBnXe1lP0jYb5unZQKtVpb064zr11iAmQpwd0G1xGFwMyRKsFBZ8yx2M4zeOrAxr2AiXdCLt0E2R/YJD+7xQwKb3D2n9apROnUg2m54zN1iz+XdwbYv1+z3szt0OCedVR0SinMe6qciTnglJrpO2sTYSOK6IFSZDVAoGALMB1ZP8ioNLvwbaEGDAaDLaGV9sE39e/zIod+52+Pu3tmDunvK2EnMnT+7UCuSSbcNZT1RSLUcXl8KvG44XlagUV8PSpZlMPSUKCTVnoy7+n4b+92CbxrBexX5mP3gXU5XW3rsvfyXAkB6CIhDNKGLB/sex2hc7dTuCMQrWKxAECgYBw2exaaPUgnAN1cSOKKmnN3Gpxg2CAEoELPixibw2yDzM+ebCYMUaHNfbW2W5dZPBaVMUV/v6CMu1lSawUigqS0pVwKLRD35Co+QzQ+SewE3P+E0oJ1qG/CipObwQquMy0dICBAupNz1f8mBBumGXMcjo8yO5jZclKp5uTO5PLkA==';
const SEALED = {
  'SHA-1': 'mdKSzZCX09Z2AmdzK0YhzA60sFVwprUr8s+IuYiuH4iY6S05/wqTvd7DrOyzmEN4tHUt1dqEPke7AIjo4zLfLSqQQYK1DrkyGGC44BkN+wIm81MW/oYblIgMs0mxFWu0FgffnLHrBXqYdMStHBVvarFA89Qs+TIm8vuQhAnWNzATR/t0cuSJb4zpgJ7uQ+0IdigyXY1AHVKlvk8qV9tSizltwcmEoAqtCdoVhYbHIlAFaGL9N/vq6qPtfqZTZKjZ/Wz8O8oYE4Qv5akjTJLIJXGDOQQXejwTErpBsGuCgkfWVanXYb0XtF0o1UrpH3l5RN5pAGcHMc57proi4O5agw==',
  'SHA-256': 'dQrYDeixAA3L/tJiErnQUf2DComwe2JwSU83Id0U7vUkf0vDdsH/uSew5Vyr/9YQeSqY1MmcC+qrujgbrnJSooDY0giZqJ+h0WW7ndr0zDuTjg+ZB9+EueT9wHKXqOA/sLSfOWRb/bm/ur4GNEoCdWoGQMepWqqjLQKmsm3huyS8Qf9P8yxNyWHYg6lKi79k1SIxDBeqljMBt9Ya5yEgN1+Cdfk8qYatvASX4pZgUgzwvV3DOSQJvPuX9Z1asZCGoG0PHUCnGC22J8x0R9WB4DBRkxWL9atpIUb+FR4y1k5QOutrjgBzEoIHJkDQvwg1nZTAtA2P2HwwI6xMVvJd+Q==',
  'SHA-384': 'BEiwEu58Y8Y6eSJeeizEpPZKRxJe02nEPuYEjC7v+vMSX5QBQBA6vJL5gdMxig/r9j3DiGCM7/0of6mS6J7n2bIx4nW/B2aezfHFRlMtcxzEpP4YpQhLqtPtUjy+QcqmQu4v7GxN6r3NdLhTiGleVTx9HnPdNM7HnnuYswthBvSwe6UoUjUkiBWWLRxVER6UB7+BT5zP5oXNfvQ5hM9y28MIw3eGEg8jnu7CAHLdGQAmn5Hc1cyedzJM9VFCRdk02vKBxCOzvzqE1QtpwMfiuvz02S9s28ZlxE3OU978P9+hRfExF1SiceULusd9dFpgtuHxfSO2cjI+t69Q+tyY4A==',
  'SHA-512': 'VEuLMRt9gvHG5r/b682G1dS5dhe4p4/rY2NePqwMzqwL11r36uSrkP4jvcKQsC19EVqT8s1tVoWeZ2hC3+Dh1MFB08v3unzipHeUz/tj2QU+F4LhJ+UOObzqAGa580k9HBE/vn8LejmLAs70pJg7l6YIi42arrh9s8u+kfnqXcbpfS6+PgPmAPK8QDuAIQP4uTuEiXOp6K5dpf6GZ8cPilWQ/cIvR3vTSMVAJ4Eq82IV4KhjBE21vNguWJpAv+ErpkDQ9G5Se2/xd5Rfta/wJno6qdzFtnPqlMDbqB5+2IVBQa1dO7z54zBsnhuKXGe3/o0r+jIzbDOmybqiPwdsXw==',
};
export default async (print) => {
  const { subtle } = crypto, enc = (t) => new TextEncoder().encode(t), dec = (b) => new TextDecoder().decode(b), bytes = (t) => Uint8Array.from(atob(t), (c) => c.charCodeAt(0));
  const attempt = async (what, run) => { try { print(what, await run()); } catch (e) { print(what, e.name); } };
  const der = bytes(PKCS8);
  for (const [hash, size] of [['SHA-1', 20], ['SHA-256', 32], ['SHA-384', 48], ['SHA-512', 64]]) {
    const algorithm = { name: 'RSA-OAEP', hash };
    const own = await subtle.importKey('pkcs8', der, algorithm, true, ['decrypt', 'unwrapKey']); print(own.type, own.algorithm, own.usages);
    const jwk = await subtle.exportKey('jwk', own); print(Object.keys(jwk).filter((k) => jwk[k] !== undefined).sort(), jwk.alg, jwk.key_ops);
    const open = await subtle.importKey('jwk', { kty: 'RSA', n: jwk.n, e: jwk.e, alg: jwk.alg, use: 'enc' }, algorithm, true, ['encrypt', 'wrapKey']); print(open.type, open.usages, open.extractable);
    await attempt('a text of others', async () => dec(await subtle.decrypt({ name: 'RSA-OAEP', label: enc('label of it') }, own, bytes(SEALED[hash]))));
    const most = 256 - 2 * size - 2;
    for (const length of [0, 1, most]) { const sealed = await subtle.encrypt('RSA-OAEP', open, new Uint8Array(length).fill(5)); print(sealed.byteLength, new Uint8Array(await subtle.decrypt('RSA-OAEP', own, sealed)).every((b) => b === 5)); }
    const one = await subtle.encrypt('RSA-OAEP', open, enc('same')), two = await subtle.encrypt('RSA-OAEP', open, enc('same')); print([...new Uint8Array(one)].join() === [...new Uint8Array(two)].join());
    for (const format of ['spki', 'jwk']) { const again = await subtle.importKey(format, await subtle.exportKey(format, open), algorithm, true, ['encrypt']); print(format, dec(await subtle.decrypt('RSA-OAEP', own, await subtle.encrypt('RSA-OAEP', again, enc('by another way'))))); }
    for (const format of ['pkcs8', 'jwk']) { const again = await subtle.importKey(format, await subtle.exportKey(format, own), algorithm, false, ['decrypt']); print(format, again.extractable, dec(await subtle.decrypt('RSA-OAEP', again, one))); }
    const key = await subtle.importKey('raw', new Uint8Array(16).fill(3), 'AES-GCM', true, ['encrypt']);
    for (const format of ['raw', 'jwk']) await attempt(`wrapped ${format}`, async () => { const wrapped = await subtle.wrapKey(format, key, open, 'RSA-OAEP'); const back = await subtle.unwrapKey(format, wrapped, own, 'RSA-OAEP', 'AES-GCM', true, ['encrypt']); return [wrapped.byteLength, ...new Uint8Array(await subtle.exportKey('raw', back))]; });
    const changed = bytes(SEALED[hash]); changed[9] ^= 1;
    for (const [what, run] of [
      ['too long', () => subtle.encrypt('RSA-OAEP', open, new Uint8Array(most + 1))],
      ['no label', () => subtle.decrypt('RSA-OAEP', own, bytes(SEALED[hash]))],
      ['other label', () => subtle.decrypt({ name: 'RSA-OAEP', label: enc('label of another') }, own, bytes(SEALED[hash]))],
      ['label of text', () => subtle.encrypt({ name: 'RSA-OAEP', label: 'text' }, open, enc('x'))],
      ['changed', () => subtle.decrypt({ name: 'RSA-OAEP', label: enc('label of it') }, own, changed)],
      ['short', () => subtle.decrypt('RSA-OAEP', own, new Uint8Array(12))],
      ['long', () => subtle.decrypt('RSA-OAEP', own, new Uint8Array(300))],
      ['empty', () => subtle.decrypt('RSA-OAEP', own, new Uint8Array(0))],
      ['as large as can be', () => subtle.decrypt('RSA-OAEP', own, new Uint8Array(256).fill(255))],
      ['unwrapped', () => subtle.unwrapKey('raw', new Uint8Array(256), own, 'RSA-OAEP', 'AES-GCM', true, ['encrypt'])],
      ['encrypt by private', () => subtle.encrypt('RSA-OAEP', own, enc('x'))],
      ['decrypt by public', () => subtle.decrypt('RSA-OAEP', open, one)],
      ['sign', () => subtle.sign('RSA-OAEP', own, enc('x'))],
      ['public as pkcs8', () => subtle.exportKey('pkcs8', open)],
      ['private as spki', () => subtle.exportKey('spki', own)],
      ['raw', () => subtle.exportKey('raw', open)],
      ['private to encrypt', () => subtle.importKey('pkcs8', der, algorithm, true, ['encrypt'])],
      ['private for nothing', () => subtle.importKey('pkcs8', der, algorithm, true, [])],
      ['public to decrypt', async () => subtle.importKey('spki', await subtle.exportKey('spki', open), algorithm, true, ['decrypt'])],
      ['public for nothing', async () => (await subtle.importKey('spki', await subtle.exportKey('spki', open), algorithm, true, [])).usages],
      ['to sign', () => subtle.importKey('jwk', { kty: 'RSA', n: jwk.n, e: jwk.e, use: 'sig' }, algorithm, true, ['encrypt'])],
      ['of another digest', () => subtle.importKey('jwk', { kty: 'RSA', n: jwk.n, e: jwk.e, alg: jwk.alg }, { name: 'RSA-OAEP', hash: hash === 'SHA-512' ? 'SHA-1' : 'SHA-512' }, true, ['encrypt'])],
      ['of another kind', () => subtle.importKey('jwk', { kty: 'EC', n: jwk.n, e: jwk.e }, algorithm, true, ['encrypt'])],
      ['without modulus', () => subtle.importKey('jwk', { kty: 'RSA', e: jwk.e }, algorithm, true, ['encrypt'])],
      ['without a prime', () => subtle.importKey('jwk', { ...jwk, p: undefined }, algorithm, true, ['decrypt'])],
      ['imported raw', () => subtle.importKey('raw', new Uint8Array(256), algorithm, true, ['encrypt'])],
      ['nothing', () => subtle.importKey('spki', new Uint8Array(10), algorithm, true, ['encrypt'])],
      ['nothing private', () => subtle.importKey('pkcs8', new Uint8Array(10), algorithm, true, ['decrypt'])],
      ['no digest', () => subtle.importKey('pkcs8', der, 'RSA-OAEP', true, ['decrypt'])],
      ['wrapped what is not to leave', async () => subtle.wrapKey('raw', await subtle.importKey('raw', new Uint8Array(16), 'AES-GCM', false, ['encrypt']), open, 'RSA-OAEP')],
    ]) await attempt(what, run);
  }
};
