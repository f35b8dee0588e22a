const { p } = core;
const VIEWS = { __proto__: null };
for (const name of ['Int8Array', 'Uint8Array', 'Uint8ClampedArray', 'Int16Array', 'Uint16Array', 'Int32Array', 'Uint32Array',
  'Float32Array', 'Float64Array', 'BigInt64Array', 'BigUint64Array', 'Float16Array', 'DataView']) VIEWS[name] = core.views[name];
const ERRORS = { __proto__: null, Error: p.Error, EvalError: p.EvalError, RangeError: p.RangeError, ReferenceError: p.ReferenceError,
  SyntaxError: p.SyntaxError, TypeError: p.TypeError, URIError: p.URIError };
const hidden = (value) => ({ __proto__: null, value, writable: true, enumerable: false, configurable: true });
const unboxers = [p.NumberValueOf, p.StringValueOf, p.BooleanValueOf, p.BigIntValueOf];

const helpers = {
  __proto__: null,
  dataCloneError: (message) => new p.DOMException(message, 'DataCloneError'),
  describe: (value) => {
    if (typeof value === 'symbol') return p.SymbolToString(value);
    if (typeof value === 'function') return core.usv(p.FunctionToString(value));
    const tag = value[p.Symbol.toStringTag];
    return `#<${typeof tag === 'string' ? core.usv(tag) : 'Object'}>`;
  },
  digits: (value) => p.BigIntToString(value),
  bigint: (digits) => p.BigInt(digits),
  time: (date) => p.DateGetTime(date),
  makeDate: (time) => new p.Date(time),
  source: (regexp) => core.usv(p.regexpSource(regexp)),
  flags: (regexp) => p.regexpFlags(regexp),
  makeRegExp: (source, flags) => new p.RegExp(source, flags),
  entries: (map) => { const out = []; p.MapForEach(map, (value, key) => p.ArrayPush(out, key, value)); return out; },
  members: (set) => { const out = []; p.SetForEach(set, (value) => p.ArrayPush(out, value)); return out; },
  makeMap: () => new p.Map(),
  mapSet: (map, key, value) => { p.MapSet(map, key, value); },
  makeSet: () => new p.Set(),
  setAdd: (set, value) => { p.SetAdd(set, value); },
  detached: (buffer) => p.bufferDetached(buffer),
  wellFormed: (value) => core.usv(value),
  unbox: (value) => {
    for (let i = 0; i < unboxers.length; i++) {
      try { return unboxers[i](value); } catch { continue; }
    }
    throw helpers.dataCloneError('an object could not be cloned.');
  },
  box: (value) => p.Object(value),
  ordinary: (value) => { const proto = p.getPrototypeOf(value); return proto === p.objectProto || proto === null; },
  isPlatform: (value) => core.isPlatform(value),
  hasOwn: (object, key) => p.ObjectHasOwnProperty(object, key),
  dense: (array, length) => {
    // Indexes come first among the keys: so many keys of which the last is the last index are all of them.
    const keys = p.keys(array);
    return keys.length === length && (length === 0 || keys[length - 1] === p.String(length - 1));
  },
  sparse: (length) => { const out = []; out.length = length; return out; },
  view: (value) => (p.typedTag(value) === undefined
    ? [p.viewBuffer(value), p.viewOffset(value), p.viewBytes(value)]
    : [p.typedBuffer(value), p.typedOffset(value), p.typedBytes(value)]),
  makeView: (name, buffer, offset, length) => new VIEWS[name](buffer, offset, length),
  error: (error) => {
    const name = error.name;
    const known = typeof name === 'string' && name in ERRORS ? name : 'Error';
    const properties = [];
    const keep = (key) => {
      const held = p.getOwnPropertyDescriptor(error, key);
      if (held !== undefined && 'value' in held) p.ArrayPush(properties, key, key === 'message' ? core.usv(held.value) : held.value);
    };
    keep('message');
    if (typeof error.stack === 'string') p.ArrayPush(properties, 'stack', core.usv(error.stack));
    keep('cause');
    const keys = p.keys(error);
    for (let i = 0; i < keys.length; i++) {
      if (keys[i] !== 'message' && keys[i] !== 'stack' && keys[i] !== 'cause') p.ArrayPush(properties, keys[i], error[keys[i]]);
    }
    return [known, properties];
  },
  makeError: (name) => {
    const error = new (ERRORS[name] ?? p.Error)();
    delete error.stack;
    return error;
  },
  fillError: (error, properties) => {
    const keys = p.ownKeys(properties);
    for (let i = 0; i < keys.length; i++) {
      const at = hidden(properties[keys[i]]);
      at.enumerable = keys[i] !== 'message' && keys[i] !== 'cause';
      p.defineProperty(error, keys[i], at);
    }
  },
  makeDomException: (name, message, stack) => {
    const error = new p.DOMException(message, name);
    p.defineProperty(error, 'stack', hidden(stack));
    return error;
  },
};

const { structuredClone } = { structuredClone(value, options = undefined) {
  if (arguments.length === 0) throw new p.TypeError('structuredClone needs an argument');
  const transfer = options?.transfer === undefined ? [] : core.list(options.transfer);
  for (let i = 0; i < transfer.length; i++) {
    if (!core.isBuffer(transfer[i])) throw new p.TypeError('Value not transferable');
    if (p.ArrayIndexOf(transfer, transfer[i]) !== i) throw helpers.dataCloneError('ArrayBuffer occurs in the transfer list more than once');
    if (p.bufferDetached(transfer[i])) throw helpers.dataCloneError('An ArrayBuffer is detached and could not be cloned.');
  }
  const kept = [];
  const bytes = core.clone.encode(value, (object) => {
    const headers = core.ifLoaded('headers'), blob = core.ifLoaded('blob');
    if (headers?.isHeaders(object)) return p.ArrayPush(kept, new headers.Headers(object)) - 1;
    return (blob?.bytesOf(object) ?? null) === null ? undefined : p.ArrayPush(kept, blob.copy(object)) - 1;
  });
  for (let i = 0; i < transfer.length; i++) p.BufferTransfer(transfer[i]);
  return core.clone.decode(bytes, (number) => kept[number]);
} };
return { structuredClone, helpers };
