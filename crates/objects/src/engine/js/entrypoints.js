// The deployment's own entry points, as bindings and as `ctx.exports`: called within the realm, through copies.
const { p } = core;
const { Proxy } = globalThis;
const { remote } = core.load('stubs');
class Fetcher {}
core.brand(Fetcher, 'Fetcher');
const names = new p.WeakMap();
const NO_FETCH = 'Handler does not export a fetch() function.';

const isEntrypoint = (value) => typeof value === 'function' && core.extend(value, core.classes.WorkerEntrypoint);
const start = (name, props) => {
  const Class = core.exported[name];
  if (!isEntrypoint(Class)) throw new p.TypeError(`The main module exports no WorkerEntrypoint ${name}.`);
  return new Class(core.load('state').entry(props, ops.event(undefined)), core.env);
};
const answer = (name, props, request) => {
  const value = core.exported[name];
  if (!isEntrypoint(value)) {
    if (typeof value?.fetch !== 'function') throw new p.TypeError(NO_FETCH);
    return value.fetch(request, core.env, core.load('state').entry(props, ops.event(undefined)));
  }
  const instance = start(name, props);
  if (typeof instance.fetch !== 'function') throw new p.TypeError(NO_FETCH);
  return instance.fetch(request);
};
const fetchOf = async (name, props, input, init) => {
  const http = core.load('http');
  const sent = http.toSend(input, init);
  try {
    const request = http.makeRequest(sent.method, http.withoutHash(sent.url), http.headerText(sent), http.takeBody(sent), null);
    const parts = http.partsOf(await answer(name, props, request));
    if (parts === null || parts.status === undefined) throw new p.TypeError("Incorrect type for Promise: the Promise did not resolve to 'Response'.");
    return http.makeResponse(parts.status, parts.statusText ?? '', http.headerText(parts), http.takeBody(parts), parts.webSocket, sent.url, false);
  } catch (error) {
    throw core.errorOf(core.problemOf(error, true));
  }
};

const stub = (name, props) => {
  const call = (path, args) => core.load('rpc').loop(() => ({ user: start(name, props) }), path, args);
  const proxy = new Proxy(new Fetcher(), {
    __proto__: null,
    get: (of, member) => {
      if (member === 'fetch') return (input, init = undefined) => fetchOf(name, props, input, init);
      if (typeof member === 'symbol' || member in of) return of[member];
      return member === 'then' ? undefined : remote(call, [member]);
    },
    has: () => true, set: () => false, deleteProperty: () => false, defineProperty: () => false,
  });
  p.WeakMapSet(names, proxy, [name, props]);
  return proxy;
};
/** Also a function that gives one with `ctx.props`, of which it has a copy. */
const exportOf = (name) => {
  const plain = stub(name, {});
  return new Proxy(() => {}, {
    __proto__: null,
    apply: (_, self, [options]) => stub(name, core.clone.decode(core.clone.encode(options?.props ?? {}))),
    get: (_, member) => plain[member],
    getPrototypeOf: () => Fetcher.prototype,
    ownKeys: () => [], getOwnPropertyDescriptor: () => undefined, set: () => false, deleteProperty: () => false, defineProperty: () => false,
  });
};

let exports = null;
return {
  stub,
  nameOf: (value) => p.WeakMapGet(names, value) ?? null,
  all: () => {
    if (exports !== null) return exports;
    if (core.exported === undefined) return {};
    exports = { __proto__: null };
    const classes = ops.classes(), found = p.ownKeys(core.exported);
    for (let i = 0; i < found.length; i++) {
      const name = found[i], value = core.exported[name];
      const index = typeof value === 'function' ? p.ArrayIndexOf(classes, name) : -1;
      if (index >= 0) exports[name] = core.load('namespace').open(index);
      else if (isEntrypoint(value) || (name === 'default' && typeof value === 'object' && value !== null)) exports[name] = exportOf(name);
    }
    return exports;
  },
};
