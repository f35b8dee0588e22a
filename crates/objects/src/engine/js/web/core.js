// Runs first, before any code of the user: takes what the other scripts need of the built-ins, which users may patch later.
const G = globalThis;
const { apply, construct, ownKeys, defineProperty, getOwnPropertyDescriptor, getPrototypeOf, setPrototypeOf } = Reflect;
const uncurry = Function.prototype.bind.bind(Function.prototype.call);
const p = { __proto__: null, apply, construct, ownKeys, defineProperty, getPrototypeOf, setPrototypeOf, getOwnPropertyDescriptor, uncurry };

const take = (proto, prefix, names) => {
  for (const name of names) p[prefix + name[0].toUpperCase() + name.slice(1)] = uncurry(proto[name]);
};
take(Array.prototype, 'Array', ['push', 'shift', 'slice', 'splice', 'join', 'sort', 'indexOf']);
take(String.prototype, 'String', ['slice', 'split', 'indexOf', 'lastIndexOf', 'toLowerCase', 'toUpperCase', 'toWellFormed',
  'charCodeAt', 'startsWith', 'endsWith', 'trim', 'replaceAll', 'includes']);
take(Map.prototype, 'Map', ['get', 'set', 'has', 'delete', 'clear', 'forEach']);
take(Set.prototype, 'Set', ['add', 'has', 'delete', 'forEach', 'clear']);
take(WeakMap.prototype, 'WeakMap', ['get', 'set', 'has']);
take(RegExp.prototype, 'RegExp', ['exec', 'test']);
take(Promise.prototype, 'Promise', ['then']);
take(Date.prototype, 'Date', ['getTime']);
take(ArrayBuffer.prototype, 'Buffer', ['slice', 'transfer']);
take(DataView.prototype, 'View', ['getUint8']);
take(Error.prototype, 'Error', ['toString']);
take(Number.prototype, 'Number', ['toString', 'valueOf']);
take(BigInt.prototype, 'BigInt', ['toString', 'valueOf']);
take(Boolean.prototype, 'Boolean', ['valueOf']);
take(Object.prototype, 'Object', ['hasOwnProperty']);
take(Function.prototype, 'Function', ['toString']);
take(Symbol.prototype, 'Symbol', ['toString']);
p.StringValueOf = uncurry(String.prototype.valueOf);

const getter = (proto, name) => uncurry(getOwnPropertyDescriptor(proto, name).get);
const Typed = getPrototypeOf(Uint8Array.prototype);
take(Typed, 'Typed', ['set', 'subarray', 'slice', 'fill']);
p.typedTag = getter(Typed, Symbol.toStringTag);
p.typedBuffer = getter(Typed, 'buffer');
p.typedOffset = getter(Typed, 'byteOffset');
p.typedBytes = getter(Typed, 'byteLength');
p.typedLength = getter(Typed, 'length');
p.viewBuffer = getter(DataView.prototype, 'buffer');
p.viewOffset = getter(DataView.prototype, 'byteOffset');
p.viewBytes = getter(DataView.prototype, 'byteLength');
p.bufferBytes = getter(ArrayBuffer.prototype, 'byteLength');
p.bufferDetached = getter(ArrayBuffer.prototype, 'detached');
p.regexpSource = getter(RegExp.prototype, 'source');
p.regexpFlags = getter(RegExp.prototype, 'flags');

p.Promise = Promise;
p.promiseResolve = Promise.resolve.bind(Promise);
p.promiseReject = Promise.reject.bind(Promise);
p.withResolvers = Promise.withResolvers.bind(Promise);
p.isArray = Array.isArray;
p.isView = ArrayBuffer.isView;
p.objectProto = Object.prototype;
p.functionProto = Function.prototype;
p.keys = Object.keys;
p.create = Object.create;
p.freeze = Object.freeze;
p.floor = Math.floor;
p.min = Math.min;
p.fromCharCode = String.fromCharCode;
p.parse = JSON.parse;
p.stringify = JSON.stringify;
p.Map = Map; p.Set = Set; p.WeakMap = WeakMap; p.Date = Date; p.RegExp = RegExp;
p.ArrayBuffer = ArrayBuffer; p.DataView = DataView; p.Uint8Array = Uint8Array;
p.Error = Error; p.TypeError = TypeError; p.RangeError = RangeError; p.SyntaxError = SyntaxError;
p.EvalError = EvalError; p.ReferenceError = ReferenceError; p.URIError = URIError;
p.DOMException = DOMException;
p.Object = Object; p.Number = Number; p.String = String; p.Boolean = Boolean; p.BigInt = BigInt; p.Symbol = Symbol;
p.iterator = Symbol.iterator; p.asyncIterator = Symbol.asyncIterator;
p.queueMicrotask = queueMicrotask;
p.ArrayIteratorProto = getPrototypeOf(getPrototypeOf([][Symbol.iterator]()));
p.AsyncIteratorProto = getPrototypeOf(getPrototypeOf((async function* () {}).prototype));

core.p = p;
core.views = { __proto__: null };
for (const view of [Int8Array, Uint8Array, Uint8ClampedArray, Int16Array, Uint16Array, Int32Array, Uint32Array, Float32Array,
  Float64Array, BigInt64Array, BigUint64Array, Float16Array, DataView]) core.views[view.name] = view;

// Globals.
const plain = (value) => ({ __proto__: null, value, writable: true, enumerable: false, configurable: true });
core.define = (name, value) => { defineProperty(G, name, plain(value)); };

const loaded = { __proto__: null };
core.load = (file) => {
  if (!(file in loaded)) loaded[file] = ops.script(file)(core, ops);
  return loaded[file];
};
/** What a script returned, if anything has needed it: no instance of its classes can be there before. */
core.ifLoaded = (file) => loaded[file];
/** Globals that `file` returns when one of them is first read. */
core.lazy = (names, file) => {
  for (const name of p.isArray(names) ? names : [names]) {
    defineProperty(G, name, {
      __proto__: null, enumerable: false, configurable: true,
      get() { const value = core.load(file)[name]; core.define(name, value); return value; },
      set(value) { core.define(name, value); },
    });
  }
};

// Classes of ours: objects of the platform are no plain objects to structured clone.
const platform = new WeakMap();
const weakHas = p.WeakMapHas, weakSet = p.WeakMapSet;
core.brand = (C, name) => {
  defineProperty(C.prototype, Symbol.toStringTag, { __proto__: null, value: name, configurable: true });
  weakSet(platform, C.prototype, true);
  const names = ownKeys(C.prototype);
  for (let i = 0; i < names.length; i++) {
    if (typeof names[i] !== 'string' || names[i] === 'constructor') continue;
    const at = getOwnPropertyDescriptor(C.prototype, names[i]);
    at.enumerable = true;
    defineProperty(C.prototype, names[i], at);
  }
  return C;
};
core.isPlatform = (object) => {
  for (let at = getPrototypeOf(object); at !== null; at = getPrototypeOf(at)) if (weakHas(platform, at)) return true;
  return false;
};

// Conversions of Web IDL.
core.usv = (value) => p.StringToWellFormed(`${value}`);
core.handled = (promise) => { p.PromiseThen(promise, undefined, () => {}); return promise; };
core.then = (promise, done, failed) => p.PromiseThen(p.promiseResolve(promise), done, failed);
core.illegal = () => new TypeError('Illegal constructor');
core.isBuffer = (value) => {
  try { p.bufferBytes(value); return true; } catch { return false; }
};
/** The bytes of an ArrayBuffer or of a view, as a Uint8Array over the same memory; null for anything else. */
core.viewOf = (value) => {
  if (p.isView(value)) {
    return p.typedTag(value) === undefined
      ? new p.Uint8Array(p.viewBuffer(value), p.viewOffset(value), p.viewBytes(value))
      : new p.Uint8Array(p.typedBuffer(value), p.typedOffset(value), p.typedBytes(value));
  }
  return typeof value === 'object' && value !== null && core.isBuffer(value) ? new p.Uint8Array(value) : null;
};
core.copyOf = (value) => {
  const view = core.viewOf(value);
  return view === null ? null : p.TypedSlice(view);
};
/** A list from any iterable, in a way that a patched Array.prototype[Symbol.iterator] cannot see more than its own. */
core.list = (iterable) => {
  const out = [];
  let n = 0;
  for (const item of iterable) defineProperty(out, n++, { __proto__: null, value: item, writable: true, enumerable: true, configurable: true });
  return out;
};
/** Iterators whose prototype has the given tag, as Web IDL's iterable declarations have them. */
core.iteratorClass = (tag) => {
  const states = new WeakMap();
  const proto = { __proto__: p.ArrayIteratorProto };
  const next = { next() {
    const state = p.WeakMapGet(states, this);
    if (state === undefined) throw new p.TypeError('Illegal invocation');
    const entry = state.at(state.index);
    if (entry === undefined) return { value: undefined, done: true };
    state.index++;
    return { value: state.kind === 0 ? entry[0] : state.kind === 1 ? entry[1] : [entry[0], entry[1]], done: false };
  } }.next;
  defineProperty(proto, 'next', { __proto__: null, value: next, writable: true, enumerable: true, configurable: true });
  defineProperty(proto, Symbol.toStringTag, { __proto__: null, value: tag, configurable: true });
  return (at, kind) => {
    const iterator = { __proto__: proto };
    p.WeakMapSet(states, iterator, { at, kind, index: 0 });
    return iterator;
  };
};

core.eventTime = () => 0;
core.define('self', G);
core.lazy(['URL', 'URLSearchParams'], 'url');
core.lazy('URLPattern', 'urlpattern');
core.lazy(['TextEncoder', 'TextDecoder', 'atob', 'btoa'], 'encoding');
core.lazy(['TextEncoderStream', 'TextDecoderStream', 'CompressionStream', 'DecompressionStream', 'IdentityTransformStream',
  'FixedLengthStream'], 'transforms');
core.lazy(['Event', 'CustomEvent', 'EventTarget', 'MessageEvent', 'CloseEvent', 'ErrorEvent', 'AbortController', 'AbortSignal'],
  'events');
core.lazy(['ReadableStream', 'ReadableStreamDefaultReader', 'ReadableStreamBYOBReader', 'ReadableStreamDefaultController',
  'ReadableByteStreamController', 'ReadableStreamBYOBRequest', 'ByteLengthQueuingStrategy', 'CountQueuingStrategy'], 'streams');
core.lazy(['WritableStream', 'WritableStreamDefaultWriter', 'WritableStreamDefaultController', 'TransformStream',
  'TransformStreamDefaultController'], 'writable');
core.lazy(['Blob', 'File'], 'blob');
core.lazy('FormData', 'formdata');
core.lazy('Headers', 'headers');
core.lazy(['Request', 'Response'], 'http');
core.lazy(['crypto', 'Crypto', 'SubtleCrypto', 'CryptoKey'], 'crypto');
core.lazy(['structuredClone'], 'clone');
core.lazy(['performance', 'Performance', 'navigator', 'Navigator', 'scheduler', 'Scheduler'], 'environment');

// For the other half of the engine.
core.clone = {
  __proto__: null,
  encode: (value, external) => core.load('clone').encode(value, external),
  decode: (bytes, external) => core.load('clone').decode(bytes, external),
};
