// What code holds to call what lives elsewhere, and what calls of it will give.
const { p } = core;
const { Proxy } = globalThis;
const { Symbol } = p;
const USED = 'RPC stub used after being disposed.';

/** What a call will give; its members and methods can be asked for before it is there. */
class JsRpcPromise {}
core.brand(JsRpcPromise, 'JsRpcPromise');
class JsRpcProperty {}
core.brand(JsRpcProperty, 'JsRpcProperty');
const { RpcStub } = core.classes;

// Handles of stubs, and names of what is no value yet, by the proxies that code holds.
const handles = new p.WeakMap();
const unsettled = new p.WeakMap();
const handleOf = (value) => p.WeakMapGet(handles, value) ?? null;
/** Each handle is disposed of by itself; what it leads to goes with the last. */
const dispose = (handle) => {
  if (handle.over) return;
  handle.over = true;
  if (--handle.hook.refs === 0) handle.hook.end();
};
const dup = (handle) => {
  if (handle.over) throw new p.Error(USED);
  handle.hook.refs++;
  return { hook: handle.hook, over: false };
};

const promiseFinally = p.uncurry(p.Promise.prototype.finally);
const refusals = { __proto__: null, set: () => false, deleteProperty: () => false, defineProperty: () => false, ownKeys: () => [], getOwnPropertyDescriptor: () => undefined };
const lazily = (C, tag, promise, more, member, call) => {
  const proxy = new Proxy(() => {}, {
    __proto__: null, ...refusals,
    apply: (_, self, args) => call(args),
    get: (_, name) => {
      if (name === 'then') return (done, failed) => p.PromiseThen(promise(), done, failed);
      if (name === 'catch') return (failed) => p.PromiseThen(promise(), undefined, failed);
      if (name === 'finally') return (run) => promiseFinally(promise(), run);
      if (typeof name === 'symbol') return name === Symbol.toStringTag ? tag : more(name);
      return name in C.prototype && name !== 'constructor' && name in p.objectProto ? p.objectProto[name] : member(name);
    },
    getPrototypeOf: () => C.prototype,
  });
  p.WeakMapSet(unsettled, proxy, tag === 'JsRpcPromise' ? 'RpcPromise' : 'RpcProperty');
  return proxy;
};
const missing = (name) => new p.TypeError(`The RPC receiver does not implement the method "${name}".`);
/** The member of a result; where that is a stub, it is asked on the other side. */
const within = (value, name) => {
  if ((typeof value !== 'object' && typeof value !== 'function') || value === null) throw missing(name);
  if (!p.WeakMapHas(handles, value) && !p.WeakMapHas(unsettled, value) && !p.ObjectHasOwnProperty(value, name)) throw missing(name);
  return value[name];
};
/** Of what a call will give: the call is made when all before it has come to something. */
const pipeline = (promise, path) => lazily(JsRpcPromise, 'JsRpcPromise',
  () => (path.length === 0 ? promise : core.then(promise, (value) => { for (let i = 0; i < path.length; i++) value = within(value, path[i]); return value; })),
  (name) => (name === Symbol.dispose && path.length === 0 ? () => { core.handled(core.then(promise, (value) => value?.[Symbol.dispose]?.())); } : undefined),
  (name) => pipeline(promise, [...path, name]),
  (args) => pipeline(core.handled(core.then(promise, (value) => {
    let self = undefined;
    for (let i = 0; i < path.length; i++) { self = value; value = within(value, path[i]); }
    if (typeof value !== 'function') throw new p.TypeError(`"${path.length === 0 ? '(this)' : p.ArrayJoin(path, '.')}" is not a function.`);
    return p.apply(value, self, args);
  })), []));
/** A method, or a property that is read by waiting for it; its members are on the other side as well. */
const remote = (call, path) => lazily(JsRpcProperty, 'JsRpcProperty', () => call(path, null), () => undefined,
  (name) => remote(call, [...path, name]),
  (args) => pipeline(call(path, args), []));

const stubOf = (handle) => {
  const call = (path, args) => (handle.over ? p.promiseReject(new p.Error(USED)) : handle.hook.call(path, args));
  const proxy = new Proxy(() => {}, {
    __proto__: null, ...refusals,
    apply: (_, self, args) => pipeline(call([], args), []),
    get: (_, name) => {
      if (name === 'then') return undefined;
      if (name === 'dup') return () => stubOf(dup(handle));
      if (name === Symbol.dispose) return () => dispose(handle);
      return typeof name === 'symbol' || name in RpcStub.prototype ? RpcStub.prototype[name] : remote(call, [name]);
    },
    getPrototypeOf: () => RpcStub.prototype,
  });
  p.WeakMapSet(handles, proxy, handle);
  return proxy;
};

return { handleOf, dispose, dup, pipeline, remote, stubOf, isUnsettled: (value) => p.WeakMapGet(unsettled, value) };
