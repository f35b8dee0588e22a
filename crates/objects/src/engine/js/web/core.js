// Runs first, before any code of the user: takes what the other scripts need of the built-ins, which users may patch later.
const G = globalThis;
const { apply, construct, ownKeys, defineProperty, deleteProperty, getOwnPropertyDescriptor, getPrototypeOf, preventExtensions, setPrototypeOf } = Reflect;
const uncurry = Function.prototype.bind.bind(Function.prototype.call);
const p = {
  __proto__: null, apply, construct, ownKeys, defineProperty, deleteProperty, getPrototypeOf, setPrototypeOf, getOwnPropertyDescriptor,
  preventExtensions, uncurry,
};

const take = (proto, prefix, names) => {
  for (const name of names) p[prefix + name[0].toUpperCase() + name.slice(1)] = uncurry(proto[name]);
};
take(Array.prototype, 'Array', ['push', 'shift', 'slice', 'splice', 'join', 'sort', 'indexOf']);
take(String.prototype, 'String', ['slice', 'split', 'indexOf', 'lastIndexOf', 'toLowerCase', 'toUpperCase', 'toWellFormed',
  'charCodeAt', 'startsWith', 'endsWith', 'trim', 'replaceAll', 'includes']);
take(Map.prototype, 'Map', ['get', 'set', 'has', 'delete', 'clear', 'forEach']);
take(Set.prototype, 'Set', ['add', 'has', 'delete', 'forEach', 'clear']);
take(WeakMap.prototype, 'WeakMap', ['get', 'set', 'has']);
take(WeakRef.prototype, 'WeakRef', ['deref']);
take(RegExp.prototype, 'RegExp', ['exec', 'test']);
take(Promise.prototype, 'Promise', ['then']);
take(Date.prototype, 'Date', ['getTime']);
take(ArrayBuffer.prototype, 'Buffer', ['slice', 'transfer']);
take(DataView.prototype, 'View', ['getUint8', 'getUint32', 'setUint32']);
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
p.reflectGet = Reflect.get;
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
p.Map = Map; p.Set = Set; p.WeakMap = WeakMap; p.WeakRef = WeakRef; p.Date = Date; p.RegExp = RegExp;
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
  const known = loaded[file];
  if (known !== undefined || file in loaded) return known;
  return (loaded[file] = ops.script(ops, file)(core, ops));
};
/** What a script returned, if anything has needed it: no instance of its classes can be there before. */
core.ifLoaded = (file) => loaded[file];
/** Globals that `file` returns when one of them is first read. */
core.lazy = (names, file) => {
  for (const name of p.isArray(names) ? names : [names]) {
    // One function for both: there are many names, and every object has them all.
    const { access } = { access(value) {
      if (arguments.length === 0) value = core.load(file)[name];
      core.define(name, value);
      return value;
    } };
    defineProperty(G, name, { __proto__: null, enumerable: false, configurable: true, get: access, set: access });
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

/**
 * QuickJS forgets the layout of objects with the last of them, and works it out anew with the next. Of what comes and goes with each
 * event one is kept as it begins, and one with each of its properties more.
 */
const layouts = [];
core.keepLayouts = (C, names, example = null) => {
  p.ArrayPush(layouts, example);
  for (let most = 0; most <= names.length; most++) {
    const one = p.create(C.prototype);
    for (let i = 0; i < most; i++) one[names[i]] = null;
    p.ArrayPush(layouts, one);
  }
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

// For the other half of the engine. What the clone needs of JavaScript is loaded with the first value that is more than a primitive.
const cloning = { __proto__: null, get helpers() {
  const value = core.load('clone').helpers;
  defineProperty(cloning, 'helpers', plain(value));
  return value;
} };
core.clone = {
  __proto__: null,
  encode: (value, external) => ops.cloneEncode(value, cloning, external ?? null),
  decode: (bytes, external) => ops.cloneDecode(bytes, cloning, external ?? null),
};
