const { p } = core;
const secret = {};
const error = (message, name) => new p.DOMException(message, name);
const typeError = (message) => new p.TypeError(message);
const unsupported = (message) => error(message, 'NotSupportedError');
const HASHES = { __proto__: null, 'SHA-1': 20, 'SHA-256': 32, 'SHA-384': 48, 'SHA-512': 64 };
const BLOCKS = { __proto__: null, 'SHA-1': 512, 'SHA-256': 512, 'SHA-384': 1024, 'SHA-512': 1024 };
const NAMES = ['SHA-1', 'SHA-256', 'SHA-384', 'SHA-512', 'MD5', 'HMAC', 'AES-GCM', 'ECDSA', 'Ed25519', 'RSASSA-PKCS1-v1_5', 'RSA-PSS', 'PBKDF2', 'HKDF',
  'AES-CBC', 'AES-CTR', 'AES-KW', 'RSA-OAEP', 'ECDH', 'X25519'];
const USAGES = ['encrypt', 'decrypt', 'sign', 'verify', 'deriveKey', 'deriveBits', 'wrapKey', 'unwrapKey'];
const EMPTY = new p.Uint8Array(0);

const algorithmOf = (given) => {
  if (typeof given === 'string') given = { name: given };
  if (typeof given !== 'object' || given == null) throw typeError('the algorithm is neither a name nor a dictionary');
  const text = core.usv(given.name), upper = p.StringToUpperCase(text);
  for (let i = 0; i < NAMES.length; i++) if (p.StringToUpperCase(NAMES[i]) === upper) return { name: NAMES[i], given };
  throw unsupported(`Unrecognized or unimplemented algorithm "${text}".`);
};
const hashOf = (given) => {
  if (given === undefined) throw typeError('Missing field "hash" in "algorithm".');
  const { name } = algorithmOf(given);
  if (!(name in HASHES)) throw unsupported(`Unrecognized or unimplemented digest algorithm "${name}".`);
  return name;
};
const bytesOf = (data, what = 'the data') => {
  const bytes = core.copyOf(data);
  if (bytes == null) throw typeError(`${what} is neither an ArrayBuffer nor a view of one`);
  return bytes;
};
const buffer = (bytes) => p.typedBuffer(bytes);
const usagesOf = (list, allowed, allowEmpty = false) => {
  const given = core.list(list);
  const out = [];
  for (let i = 0; i < given.length; i++) {
    const usage = core.usv(given[i]);
    if (p.ArrayIndexOf(USAGES, usage) < 0) throw typeError(`"${usage}" is no usage of a key`);
    if (p.ArrayIndexOf(allowed, usage) < 0) throw error(`Attempt to import or generate a key with invalid usage "${usage}".`, 'SyntaxError');
    if (p.ArrayIndexOf(out, usage) < 0) p.ArrayPush(out, usage);
  }
  if (!allowEmpty && out.length === 0) throw error('Secret/private keys must have at least one usage.', 'SyntaxError');
  return p.ArraySort(out, (a, b) => p.ArrayIndexOf(USAGES, a) - p.ArrayIndexOf(USAGES, b));
};

let stateOf, makeKey;
class CryptoKey {
  #state; #algorithm = null; #usages = null;
  constructor(given, state) { if (given !== secret) throw core.illegal(); this.#state = state; }
  get type() { return this.#state.type; }
  get extractable() { return this.#state.extractable; }
  get algorithm() { return (this.#algorithm ??= { ...this.#state.algorithm }); }
  get usages() { return (this.#usages ??= p.ArraySlice(this.#state.usages)); }
  static {
    stateOf = (key) => {
      if (typeof key !== 'object' || key == null || !(#state in key)) throw typeError('the key is no CryptoKey');
      return key.#state;
    };
    makeKey = (type, extractable, algorithm, usages, data) => new CryptoKey(secret, { type, extractable: !!extractable, algorithm, usages, data });
  }
}
core.brand(CryptoKey, 'CryptoKey');

const use = (key, algorithm, usage) => {
  const state = stateOf(key);
  if (p.ArrayIndexOf(state.usages, usage) < 0) throw error(`Requested key usage "${usage}" does not match any usage listed in the CryptoKey.`, 'InvalidAccessError');
  if (state.algorithm.name !== algorithm.name) throw error(`Requested algorithm "${algorithm.name}" does not match this CryptoKey ("${state.algorithm.name}").`, 'InvalidAccessError');
  return state;
};
const toB64 = (bytes) => ops.base64url(bytes);
const fromB64 = (text, what) => {
  if (typeof text !== 'string') throw error(`the JWK has no "${what}"`, 'DataError');
  const bytes = ops.fromBase64url(core.usv(text));
  if (bytes == null) throw error(`the JWK's "${what}" is no base64url`, 'DataError');
  return bytes;
};
const jwkOf = (given, kty, usages, extractable) => {
  if (typeof given !== 'object' || given == null) throw typeError('a JWK is a dictionary');
  if (given.kty !== kty) throw error(`the JWK's "kty" must be "${kty}"`, 'DataError');
  if (given.ext === false && extractable) throw error('the JWK is not extractable', 'DataError');
  if (given.key_ops !== undefined) {
    const allowed = core.list(given.key_ops);
    for (let i = 0; i < usages.length; i++) if (p.ArrayIndexOf(allowed, usages[i]) < 0) throw error('the JWK\'s "key_ops" lack a usage', 'DataError');
  }
  return given;
};
const join = (a, b, c = EMPTY) => {
  const out = new p.Uint8Array(a.length + b.length + c.length);
  p.TypedSet(out, a);
  p.TypedSet(out, b, a.length);
  p.TypedSet(out, c, a.length + b.length);
  return out;
};

// --- one object per kind of key ---
const secretKind = (allowed, check, jwkAlg) => ({
  generate(algorithm, extractable, list) {
    const usages = usagesOf(list, allowed);
    const { algorithm: kept, bits } = check(algorithm, null);
    return makeKey('secret', extractable, kept, usages, ops.random(bits / 8));
  },
  import(format, data, algorithm, extractable, list) {
    const usages = usagesOf(list, allowed);
    let raw;
    if (format === 'raw') raw = bytesOf(data, 'the key');
    else if (format === 'jwk') raw = fromB64(jwkOf(data, 'oct', usages, extractable).k, 'k');
    else throw unsupported(`Unrecognized key import format "${format}".`);
    const { algorithm: kept } = check(algorithm, raw);
    return makeKey('secret', extractable, kept, usages, raw);
  },
  export(state, format) {
    if (format === 'raw') return buffer(p.TypedSlice(state.data));
    if (format === 'jwk') return { kty: 'oct', k: toB64(state.data), alg: jwkAlg(state), key_ops: p.ArraySlice(state.usages), ext: state.extractable };
    throw unsupported(`Unrecognized key export format "${format}".`);
  },
});
const hmacKind = {
  ...secretKind(['sign', 'verify'], ({ given }, raw) => {
    const hash = hashOf(given.hash);
    let bits = raw == null ? BLOCKS[hash] : raw.length * 8;
    if (given.length !== undefined) {
      const asked = p.Number(given.length);
      if (raw != null && (asked > bits || asked <= bits - 8)) throw error('the length is not that of the key', 'DataError');
      bits = asked;
    }
    if (!(bits > 0) || bits % 8 !== 0 || bits > 1 << 20) throw error('HMAC key length must be a non-zero multiple of 8.', raw == null ? 'OperationError' : 'DataError');
    return { algorithm: { name: 'HMAC', hash: { name: hash }, length: bits }, bits };
  }, (state) => `HS${p.StringSlice(state.algorithm.hash.name, 4)}`),
  sign: (state, algorithm, data) => ops.hmacSign(state.algorithm.hash.name, state.data, data),
  verify: (state, algorithm, tag, data) => ops.hmacVerify(state.algorithm.hash.name, state.data, tag, data),
};
const aesParts = ({ given }) => {
  const iv = bytesOf(given.iv, 'the iv');
  if (iv.length === 0) throw error('AES-GCM IV must not be empty.', 'OperationError');
  if (iv.length !== 12) throw unsupported('AES-GCM takes an IV of 12 bytes.');
  if (given.tagLength !== undefined && p.Number(given.tagLength) !== 128) {
    const tag = p.Number(given.tagLength);
    if (p.ArrayIndexOf([32, 64, 96, 104, 112, 120], tag) < 0) throw error(`Invalid AES-GCM tag length ${tag}.`, 'OperationError');
    throw unsupported('AES-GCM takes a tag of 128 bits.');
  }
  return { iv, more: given.additionalData === undefined ? EMPTY : bytesOf(given.additionalData, 'the additional data') };
};
const aesSecret = (name, usages) => secretKind(usages, ({ given }, raw) => {
  const bits = raw == null ? p.Number(given.length) : raw.length * 8;
  if (bits !== 128 && bits !== 192 && bits !== 256) {
    const message = `Imported AES key length must be 128, 192, or 256 bits but provided ${bits}.`;
    throw error(raw == null ? `Generated AES key length must be 128, 192, or 256 bits but requested ${bits}.` : message, raw == null ? 'OperationError' : 'DataError');
  }
  return { algorithm: { name, length: bits }, bits };
}, (state) => `A${state.algorithm.length}${p.StringSlice(name, 4)}`);
const CIPHER_USAGES = ['encrypt', 'decrypt', 'wrapKey', 'unwrapKey'];
const undecipherable = (data) => error('Decryption failed. This could be due to a ciphertext authentication failure, bad padding, incorrect CryptoKey, or another algorithm-specific reason. Input length was ' + data.length + '.', 'OperationError');
const blockOf = (given, what) => {
  const bytes = bytesOf(given, what);
  if (bytes.length !== 16) throw error(`${what} must be 16 bytes long (provided ${bytes.length}).`, 'OperationError');
  return bytes;
};
const cbcKind = {
  ...aesSecret('AES-CBC', CIPHER_USAGES),
  encrypt: (state, { given }, data) => ops.cbcEncrypt(state.data, blockOf(given.iv, 'AES-CBC IV'), data),
  decrypt: (state, { given }, data) => {
    const plain = ops.cbcDecrypt(state.data, blockOf(given.iv, 'AES-CBC IV'), data);
    if (plain == null) throw undecipherable(data);
    return plain;
  },
};
const counting = (state, { given }, data) => {
  const counter = blockOf(given.counter, 'AES-CTR counter'), bits = p.Number(given.length);
  if (!(bits >= 1 && bits <= 128)) throw error(`Invalid AES-CTR counter length ${bits}. It must be 1 to 128 bits.`, 'OperationError');
  const out = ops.ctr(state.data, counter, bits, data);
  if (out == null) throw error('Counter block values will repeat', 'OperationError');
  return out;
};
const ctrKind = { ...aesSecret('AES-CTR', CIPHER_USAGES), encrypt: counting, decrypt: counting };
const kwKind = {
  ...aesSecret('AES-KW', ['wrapKey', 'unwrapKey']),
  wrap: (state, algorithm, data) => {
    const wrapped = data.length % 8 === 0 && data.length > 0 ? ops.kwWrap(state.data, data) : null;
    if (wrapped == null) throw error('AES-KW wraps keys of a multiple of 8 bytes.', 'OperationError');
    return wrapped;
  },
  unwrap: (state, algorithm, data) => {
    const plain = data.length % 8 === 0 && data.length > 16 ? ops.kwUnwrap(state.data, data) : null;
    if (plain == null) throw error('The wrapped key cannot be unwrapped.', 'OperationError');
    return plain;
  },
};
const aesKind = {
  ...aesSecret('AES-GCM', CIPHER_USAGES),
  encrypt: (state, algorithm, data) => { const { iv, more } = aesParts(algorithm); return ops.aesSeal(state.data, iv, more, data); },
  decrypt: (state, algorithm, data) => {
    const { iv, more } = aesParts(algorithm);
    const plain = ops.aesOpen(state.data, iv, more, data);
    if (plain == null) throw undecipherable(data);
    return plain;
  },
};

/** Usages of a new pair of keys: those of the private one, and of the public one. */
const usagesOfPair = (list, ofPrivate, ofPublic) => {
  const usages = usagesOf(list, [...ofPrivate, ...ofPublic]);
  const own = [], shared = [];
  for (let i = 0; i < usages.length; i++) p.ArrayPush(p.ArrayIndexOf(ofPrivate, usages[i]) >= 0 ? own : shared, usages[i]);
  if (own.length === 0) throw error('a private key needs a usage', 'SyntaxError');
  return [own, shared];
};

/** Keys of a curve; private ones are PKCS #8, public ones points. */
const curveKind = (name, curveOf, algorithmFor, jwk, ofPrivate = ['sign'], ofPublic = ['verify']) => {
  const make = (algorithm, extractable, usages, isPrivate, data) => makeKey(isPrivate ? 'private' : 'public', isPrivate ? extractable : true, algorithm, usages, data);
  const bad = () => error(`Invalid ${name} key.`, 'DataError');
  return {
    generate(algorithm, extractable, list) {
      const curve = curveOf(algorithm);
      const [own, shared] = usagesOfPair(list, ofPrivate, ofPublic);
      const key = ops.curveGenerate(curve);
      const [, point] = ops.curveParts(curve, key);
      const kept = algorithmFor(curve);
      return { publicKey: makeKey('public', true, kept, shared, point), privateKey: makeKey('private', extractable, kept, own, key) };
    },
    import(format, data, algorithm, extractable, list) {
      const curve = curveOf(algorithm), kept = algorithmFor(curve);
      if (format === 'pkcs8') {
        const usages = usagesOf(list, ofPrivate);
        const key = bytesOf(data, 'the key');
        if (ops.curveParts(curve, key) == null) throw bad();
        return make(kept, extractable, usages, true, key);
      }
      if (format === 'jwk') {
        const isPrivate = data != null && typeof data === 'object' && data.d !== undefined;
        const usages = usagesOf(list, isPrivate ? ofPrivate : ofPublic, !isPrivate);
        const { point, secret: d } = jwk.read(curve, data, usages, extractable);
        if (!isPrivate) return make(kept, true, usages, false, point);
        const key = ops.curveKey(curve, d, point);
        if (key == null) throw bad();
        return make(kept, extractable, usages, true, key);
      }
      const usages = usagesOf(list, ofPublic, true);
      let point;
      if (format === 'raw') point = bytesOf(data, 'the key');
      else if (format === 'spki') point = ops.curveFromSpki(curve, bytesOf(data, 'the key'));
      else throw unsupported(`Unrecognized key import format "${format}".`);
      if (point == null || !jwk.fits(curve, point)) throw bad();
      return make(kept, extractable, usages, false, point);
    },
    export(state, format) {
      const curve = state.algorithm.namedCurve ?? state.algorithm.name;
      const isPrivate = state.type === 'private';
      if (format === 'jwk') {
        const [d, point] = isPrivate ? ops.curveParts(curve, state.data) : [null, state.data];
        return { ...jwk.write(curve, point, d), key_ops: p.ArraySlice(state.usages), ext: state.extractable };
      }
      if (format === 'pkcs8' && isPrivate) return buffer(p.TypedSlice(state.data));
      if (format === 'spki' && !isPrivate) return buffer(ops.curveSpki(curve, state.data));
      if (format === 'raw' && !isPrivate) return buffer(p.TypedSlice(state.data));
      throw error(`a ${state.type} key cannot be exported as "${format}"`, 'InvalidAccessError');
    },
  };
};
const SIZES = { __proto__: null, 'P-256': 32, 'P-384': 48, 'P-521': 66 };
const SIGNED_WITH = { __proto__: null, 'P-256': ['SHA-256'], 'P-384': ['SHA-384'], 'P-521': ['SHA-256', 'SHA-384', 'SHA-512'] };
const namedCurve = ({ given }) => {
  const curve = core.usv(given.namedCurve);
  if (curve in SIZES) return curve;
  throw unsupported(`Unrecognized or unimplemented EC curve "${curve}".`);
};
const EC_JWK = {
    fits: (curve, point) => point.length === 1 + 2 * SIZES[curve] && point[0] === 4,
    read: (curve, data, usages, extractable) => {
      const key = jwkOf(data, 'EC', usages, extractable);
      if (key.crv !== curve) throw error('the JWK is of another curve', 'DataError');
      const x = fromB64(key.x, 'x'), y = fromB64(key.y, 'y');
      if (x.length !== SIZES[curve] || y.length !== SIZES[curve]) throw error('the JWK\'s point has another size', 'DataError');
      return { point: join(new p.Uint8Array([4]), x, y), secret: key.d === undefined ? null : fromB64(key.d, 'd') };
    },
    write: (curve, point, d) => {
      const size = SIZES[curve];
      const out = { kty: 'EC', crv: curve, x: toB64(p.TypedSlice(point, 1, 1 + size)), y: toB64(p.TypedSlice(point, 1 + size)) };
      return d == null ? out : { ...out, d: toB64(d) };
    },
};
const ecdsaKind = {
  ...curveKind('ECDSA', namedCurve, (named) => ({ name: 'ECDSA', namedCurve: named }), EC_JWK),
  sign: (state, algorithm, data) => ops.curveSign(state.algorithm.namedCurve, ecdsaHash(state, algorithm), state.data, data),
  verify: (state, algorithm, tag, data) => ops.curveVerify(state.algorithm.namedCurve, ecdsaHash(state, algorithm), state.data, tag, data),
};
const ecdsaHash = ({ algorithm: { namedCurve } }, { given }) => {
  const hash = hashOf(given.hash);
  if (p.ArrayIndexOf(SIGNED_WITH[namedCurve], hash) < 0) throw unsupported(`${namedCurve} is not signed with ${hash} here.`);
  return hash;
};
const OKP_JWK = {
    fits: (curve, point) => point.length === 32,
    read: (curve, data, usages, extractable) => {
      const key = jwkOf(data, 'OKP', usages, extractable);
      if (key.crv !== curve) throw error('the JWK is of another curve', 'DataError');
      const point = fromB64(key.x, 'x');
      if (point.length !== 32) throw error('the JWK\'s point has another size', 'DataError');
      return { point, secret: key.d === undefined ? null : fromB64(key.d, 'd') };
    },
    write: (curve, point, d) => (d == null ? { kty: 'OKP', crv: curve, x: toB64(point) } : { kty: 'OKP', crv: curve, x: toB64(point), d: toB64(d) }),
};
const agreeing = (curveOf) => ({
  derive(state, { given }, length) {
    const other = stateOf(given.public);
    const curve = curveOf(state);
    if (state.type !== 'private' || other.type !== 'public') throw error('The provided key has type other than expected.', 'InvalidAccessError');
    if (other.algorithm.name !== state.algorithm.name || curveOf(other) !== curve) throw error('Base and provided keys must be of the same algorithm.', 'InvalidAccessError');
    const shared = ops.curveAgree(curve, state.data, other.data);
    if (shared == null || length > shared.length) throw error('The shared secret cannot be derived, or is shorter than asked for.', 'OperationError');
    return length == null ? shared : p.TypedSlice(shared, 0, length);
  },
});
const AGREES = ['deriveKey', 'deriveBits'];
const ecdhKind = {
  ...curveKind('ECDH', namedCurve, (named) => ({ name: 'ECDH', namedCurve: named }), EC_JWK, AGREES, []),
  ...agreeing((state) => state.algorithm.namedCurve), whole: true,
};
const xKind = { ...curveKind('X25519', () => 'X25519', () => ({ name: 'X25519' }), OKP_JWK, AGREES, []), ...agreeing(() => 'X25519'), whole: true };
const edKind = {
  ...curveKind('Ed25519', () => 'Ed25519', () => ({ name: 'Ed25519' }), OKP_JWK),
  sign: (state, algorithm, data) => ops.curveSign('Ed25519', null, state.data, data),
  verify: (state, algorithm, tag, data) => ops.curveVerify('Ed25519', null, state.data, tag, data),
};

/** RSA keys are the structures of PKCS #1. */
const RSA_PARTS = ['n', 'e', 'd', 'p', 'q', 'dp', 'dq', 'qi'];
const LEAST_BITS = 2048, MOST_BITS = 4096;
const exponentOf = (bytes) => {
  let exponent = 0;
  for (let i = 0; i < bytes.length; i++) exponent = exponent * 256 + bytes[i];
  if (exponent !== 3 && exponent !== 65537) throw error(`The "publicExponent" must be either 3 or 65537, but got ${exponent}.`, 'OperationError');
  return exponent;
};
/** `purpose` is what a JWK calls what keys of the kind are for, and `jwkAlg` what it calls the kind with a digest. */
const rsaKeys = (name, purpose, jwkAlg, ofPrivate, ofPublic) => {
  const describe = (hash, key, isPrivate) => {
    const integers = ops.derIntegers(key);
    if (integers == null) throw error('Invalid RSA key.', 'DataError');
    const n = integers[isPrivate ? 1 : 0], e = integers[isPrivate ? 2 : 1];
    let bits = n.length * 8;
    for (let top = n[0]; top < 0x80 && bits > 0; top <<= 1) bits--;
    return { name, modulusLength: bits, publicExponent: e, hash: { name: hash } };
  };
  return {
    generate({ given }, extractable, list) {
      if (given.modulusLength === undefined) throw typeError('Missing field "modulusLength" in "algorithm".');
      if (given.publicExponent === undefined) throw typeError('Missing field "publicExponent" in "algorithm".');
      const publicExponent = bytesOf(given.publicExponent, 'the public exponent'), hash = hashOf(given.hash);
      const [own, shared] = usagesOfPair(list, ofPrivate, ofPublic);
      const bits = p.Number(given.modulusLength), exponent = exponentOf(publicExponent);
      if (!(bits >= LEAST_BITS && bits <= MOST_BITS && bits % 128 === 0)) {
        throw error(`The modulus length must be a multiple of 128 and between ${LEAST_BITS} and ${MOST_BITS}, but ${bits} was requested.`, 'OperationError');
      }
      const key = ops.rsaGenerate(bits, exponent, ops.cpuSpent);
      if (key == null) throw error('No key was found.', 'OperationError');
      const [, n, e] = ops.derIntegers(key);
      const kept = () => ({ name, modulusLength: bits, publicExponent: p.TypedSlice(publicExponent), hash: { name: hash } });
      return { publicKey: makeKey('public', true, kept(), shared, ops.derOfIntegers([n, e])), privateKey: makeKey('private', extractable, kept(), own, key) };
    },
    import(format, data, algorithm, extractable, list) {
      const hash = hashOf(algorithm.given.hash);
      const isPrivate = format === 'pkcs8' || (format === 'jwk' && data?.d !== undefined);
      const usages = usagesOf(list, isPrivate ? ofPrivate : ofPublic, !isPrivate);
      let key;
      if (format === 'pkcs8') key = ops.rsaFromPkcs8(bytesOf(data, 'the key'));
      else if (format === 'spki') key = ops.rsaFromSpki(bytesOf(data, 'the key'));
      else if (format === 'jwk') {
        const jwk = jwkOf(data, 'RSA', usages, extractable);
        if (jwk.use !== undefined && usages.length > 0 && jwk.use !== purpose) throw error(`the JWK's "use" must be "${purpose}"`, 'DataError');
        if (jwk.alg !== undefined && jwk.alg !== jwkAlg(hash)) throw error(`the JWK's "alg" must be "${jwkAlg(hash)}"`, 'DataError');
        const integers = isPrivate ? [new p.Uint8Array(1)] : [];
        for (let i = 0; i < (isPrivate ? 8 : 2); i++) p.ArrayPush(integers, fromB64(jwk[RSA_PARTS[i]], RSA_PARTS[i]));
        key = ops.derOfIntegers(integers);
      } else throw unsupported(`Unrecognized key import format "${format}".`);
      if (key == null || !(isPrivate ? ops.rsaIsPrivate(key) : ops.rsaIsPublic(key))) throw error('Invalid RSA key: it must be well-formed, of 2048 to 8192 bits.', 'DataError');
      return makeKey(isPrivate ? 'private' : 'public', isPrivate ? extractable : true, describe(hash, key, isPrivate), usages, key);
    },
    export(state, format) {
      const isPrivate = state.type === 'private';
      if (format === 'pkcs8' && isPrivate) return buffer(ops.rsaPkcs8(state.data));
      if (format === 'spki' && !isPrivate) return buffer(ops.rsaSpki(state.data));
      if (format !== 'jwk') throw error(`a ${state.type} key cannot be exported as "${format}"`, 'InvalidAccessError');
      const integers = ops.derIntegers(state.data);
      const out = { kty: 'RSA', alg: jwkAlg(state.algorithm.hash.name) };
      for (let i = 0; i < (isPrivate ? 8 : 2); i++) out[RSA_PARTS[i]] = toB64(integers[isPrivate ? i + 1 : i]);
      return { ...out, key_ops: p.ArraySlice(state.usages), ext: state.extractable };
    },
  };
};
const rsaSignatures = (name, letters) => ({
  ...rsaKeys(name, 'sig', (hash) => `${letters}${p.StringSlice(hash, 4)}`, ['sign'], ['verify']),
  sign(state, algorithm, data) {
    checkSalt(state, algorithm);
    const tag = ops.rsaSign(name, state.algorithm.hash.name, state.data, data);
    if (tag == null) throw unsupported(`${name} does not sign with ${state.algorithm.hash.name} here.`);
    return tag;
  },
  verify(state, algorithm, tag, data) {
    checkSalt(state, algorithm);
    const good = ops.rsaVerify(name, state.algorithm.hash.name, state.data, tag, data);
    if (good == null) throw unsupported(`${name} does not verify ${state.algorithm.hash.name} here.`);
    return good;
  },
});
const oaep = (operation) => (state, { given }, data) => {
  const label = given.label === undefined ? EMPTY : bytesOf(given.label, 'the label');
  const out = ops[operation](state.algorithm.hash.name, state.data, label, data);
  // Why is not told: a difference would help whoever tries out ciphertexts.
  if (out == null) throw error('RSA-OAEP failed encrypt/decrypt.', 'OperationError');
  return out;
};
const oaepKind = {
  ...rsaKeys('RSA-OAEP', 'enc', (hash) => (hash === 'SHA-1' ? 'RSA-OAEP' : `RSA-OAEP-${p.StringSlice(hash, 4)}`), ['decrypt', 'unwrapKey'], ['encrypt', 'wrapKey']),
  encrypt: oaep('oaepEncrypt'), decrypt: oaep('oaepDecrypt'),
};
const checkSalt = (state, { name, given }) => {
  if (name !== 'RSA-PSS') return;
  if (given.saltLength === undefined) throw typeError('Missing field "saltLength" in "algorithm".');
  if (p.Number(given.saltLength) !== HASHES[state.algorithm.hash.name]) throw unsupported('The salt of RSA-PSS is as long as its digest here.');
};
const derivingKind = (name, derive) => ({
  generate() { throw unsupported(`Unrecognized key generation algorithm "${name}" requested.`); },
  import(format, data, algorithm, extractable, list) {
    const usages = usagesOf(list, ['deriveKey', 'deriveBits']);
    if (format !== 'raw') throw unsupported(`Unrecognized key import format "${format}".`);
    if (extractable) throw error(`${name} key cannot be extractable.`, 'SyntaxError');
    return makeKey('secret', false, { name }, usages, bytesOf(data, 'the key'));
  },
  export() { throw error('the key is not extractable', 'InvalidAccessError'); },
  derive,
});
const ofBits = (bits) => {
  if (bits == null || bits === undefined) throw error('the length must be given', 'OperationError');
  const length = p.Number(bits);
  if (!(length >= 0) || length % 8 !== 0) throw error('the length is no multiple of 8', 'OperationError');
  return length / 8;
};
const KINDS = {
  __proto__: null, HMAC: hmacKind, 'AES-GCM': aesKind, 'AES-CBC': cbcKind, 'AES-CTR': ctrKind, 'AES-KW': kwKind, ECDH: ecdhKind, X25519: xKind, ECDSA: ecdsaKind, Ed25519: edKind,
  'RSASSA-PKCS1-v1_5': rsaSignatures('RSASSA-PKCS1-v1_5', 'RS'), 'RSA-PSS': rsaSignatures('RSA-PSS', 'PS'), 'RSA-OAEP': oaepKind,
  PBKDF2: derivingKind('PBKDF2', (state, { given }, length) => {
    const hash = hashOf(given.hash), rounds = p.Number(given.iterations);
    if (!(rounds >= 1)) throw error('PBKDF2 requires a positive iteration count.', 'OperationError');
    if (rounds > 10000000) throw unsupported(`Pbkdf2 failed: iteration counts above 10000000 are not supported (requested ${rounds}).`);
    return ops.pbkdf2(hash, state.data, bytesOf(given.salt, 'the salt'), rounds, length);
  }),
  HKDF: derivingKind('HKDF', (state, { given }, length) => ops.hkdf(hashOf(given.hash), state.data, bytesOf(given.salt, 'the salt'), bytesOf(given.info, 'the info'), length)),
};
const kindOf = (algorithm, operation) => {
  const kind = KINDS[algorithm.name];
  if (kind === undefined || kind[operation] === undefined) throw unsupported(`Unrecognized or unimplemented algorithm "${algorithm.name}" for this operation.`);
  return kind;
};

class SubtleCrypto {
  constructor(given) { if (given !== secret) throw core.illegal(); }
  async digest(given, data) {
    const { name } = algorithmOf(given);
    const hash = ops.digest(name, bytesOf(data));
    if (hash == null) throw unsupported(`Unrecognized or unimplemented digest algorithm "${name}".`);
    return buffer(hash);
  }
  async sign(given, key, data) {
    const algorithm = algorithmOf(given), state = use(key, algorithm, 'sign');
    return buffer(kindOf(algorithm, 'sign').sign(state, algorithm, bytesOf(data)));
  }
  async verify(given, key, signature, data) {
    const algorithm = algorithmOf(given), state = use(key, algorithm, 'verify');
    return kindOf(algorithm, 'verify').verify(state, algorithm, bytesOf(signature, 'the signature'), bytesOf(data));
  }
  async encrypt(given, key, data) {
    const algorithm = algorithmOf(given), state = use(key, algorithm, 'encrypt');
    return buffer(kindOf(algorithm, 'encrypt').encrypt(state, algorithm, bytesOf(data)));
  }
  async decrypt(given, key, data) {
    const algorithm = algorithmOf(given), state = use(key, algorithm, 'decrypt');
    return buffer(kindOf(algorithm, 'decrypt').decrypt(state, algorithm, bytesOf(data)));
  }
  async generateKey(given, extractable, usages) {
    const algorithm = algorithmOf(given);
    return kindOf(algorithm, 'generate').generate(algorithm, extractable, usages);
  }
  async importKey(format, data, given, extractable, usages) {
    const algorithm = algorithmOf(given);
    return kindOf(algorithm, 'import').import(core.usv(format), data, algorithm, extractable, usages);
  }
  async exportKey(format, key) {
    const state = stateOf(key);
    const kind = kindOf(state.algorithm, 'export');
    if (!state.extractable) throw error('Attempt to export non-extractable CryptoKey.', 'InvalidAccessError');
    return kind.export(state, core.usv(format));
  }
  async deriveBits(given, key, length = null) {
    const algorithm = algorithmOf(given), state = use(key, algorithm, 'deriveBits');
    return buffer(derive(algorithm, state, lengthFor(algorithm, length)));
  }
  async deriveKey(given, key, derivedType, extractable, usages) {
    const algorithm = algorithmOf(given), state = use(key, algorithm, 'deriveKey');
    const wanted = algorithmOf(derivedType);
    const deriving = wanted.name === 'HKDF' || wanted.name === 'PBKDF2';
    const bits = deriving ? null : wanted.name === 'HMAC' ? p.Number(wanted.given.length ?? BLOCKS[hashOf(wanted.given.hash)]) : p.Number(wanted.given.length);
    const raw = derive(algorithm, state, lengthFor(algorithm, bits));
    return kindOf(wanted, 'import').import('raw', raw, wanted, extractable, usages);
  }
  async wrapKey(format, key, wrapping, given) {
    const algorithm = algorithmOf(given), state = use(wrapping, algorithm, 'wrapKey');
    const exported = await p.apply(SubtleCrypto.prototype.exportKey, this, [format, key]);
    const bytes = format === 'jwk' ? ops.utf8Encode(p.stringify(exported)) : new p.Uint8Array(exported);
    const kind = KINDS[algorithm.name];
    return buffer(kind.wrap === undefined ? kindOf(algorithm, 'encrypt').encrypt(state, algorithm, bytes) : kind.wrap(state, algorithm, bytes));
  }
  async unwrapKey(format, wrapped, unwrapping, given, keyAlgorithm, extractable, usages) {
    const algorithm = algorithmOf(given), state = use(unwrapping, algorithm, 'unwrapKey');
    const { unwrap } = KINDS[algorithm.name], data = bytesOf(wrapped);
    const bytes = unwrap === undefined ? kindOf(algorithm, 'decrypt').decrypt(state, algorithm, data) : unwrap(state, algorithm, data);
    const wanted = algorithmOf(keyAlgorithm);
    const key = format === 'jwk' ? p.parse(ops.utf8Decode(bytes)) : bytes;
    return kindOf(wanted, 'import').import(core.usv(format), key, wanted, extractable, usages);
  }
  timingSafeEqual(a, b) {
    const one = bytesOf(a), two = bytesOf(b);
    if (one.length !== two.length) throw typeError('Input buffers must have the same byte length.');
    return ops.timingSafeEqual(one, two);
  }
}
/** In bytes; null is all that there is, where that has an end. */
const lengthFor = (algorithm, bits) => (bits == null && KINDS[algorithm.name]?.whole === true ? null : ofBits(bits));
const derive = (algorithm, state, length) => {
  const out = kindOf(algorithm, 'derive').derive(state, algorithm, length);
  if (out == null) throw error('the derivation failed', 'OperationError');
  return out;
};
core.brand(SubtleCrypto, 'SubtleCrypto');

const INTEGERS = new p.Set(['Int8Array', 'Uint8Array', 'Uint8ClampedArray', 'Int16Array', 'Uint16Array', 'Int32Array', 'Uint32Array', 'BigInt64Array', 'BigUint64Array']);
const subtle = new SubtleCrypto(secret);
const HEX = '0123456789abcdef';
class Crypto {
  #subtle = subtle;
  constructor(given) { if (given !== secret) throw core.illegal(); }
  get subtle() { return this.#subtle; }
  get DigestStream() { return DigestStream(); }
  getRandomValues(array) {
    this.#subtle;
    if (!p.isView(array)) throw typeError('getRandomValues() needs a TypedArray.');
    if (!p.SetHas(INTEGERS, p.typedTag(array))) throw error('getRandomValues() only accepts integer TypedArrays.', 'TypeMismatchError');
    const view = core.viewOf(array);
    if (view.length > 65536) throw error('getRandomValues() only accepts buffers of size <= 64K but provided ' + view.length + ' bytes.', 'QuotaExceededError');
    p.TypedSet(view, ops.random(view.length));
    return array;
  }
  randomUUID() {
    this.#subtle;
    const bytes = ops.random(16);
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let out = '';
    for (let i = 0; i < 16; i++) {
      if (i === 4 || i === 6 || i === 8 || i === 10) out += '-';
      out += HEX[bytes[i] >> 4] + HEX[bytes[i] & 15];
    }
    return out;
  }
}
core.brand(Crypto, 'Crypto');

let digestStream;
const DigestStream = () => (digestStream ??= (() => {
  const { WritableStream } = core.load('writable');
  class DigestStream extends WritableStream {
    #digest; #written = 0n;
    constructor(algorithm) {
      const { name } = algorithmOf(algorithm);
      const step = ops.digester(name);
      if (step == null) throw unsupported(`Unrecognized or unimplemented digest algorithm "${name}".`);
      const done = p.withResolvers();
      core.handled(done.promise);
      let count = 0;
      super({
        write(chunk) {
          const bytes = typeof chunk === 'string' ? ops.utf8Encode(core.usv(chunk)) : core.copyOf(chunk);
          if (bytes == null) throw typeError('DigestStream is a byte stream but received an object of non-ArrayBuffer/ArrayBufferView/string type on its writable side.');
          count += bytes.length;
          step(bytes);
        },
        close() { done.resolve(buffer(step(undefined))); },
        abort(reason) { done.reject(reason); },
      });
      this.#digest = done.promise;
      this.#written = () => p.BigInt(count);
    }
    get digest() { return this.#digest; }
    get bytesWritten() { return this.#written(); }
  }
  return core.brand(DigestStream, 'DigestStream');
})());

return { crypto: new Crypto(secret), Crypto, SubtleCrypto, CryptoKey };
