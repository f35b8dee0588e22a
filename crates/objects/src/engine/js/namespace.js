// Ids, namespaces and stubs.
const { p } = core;
const { Proxy } = globalThis;
const secret = {};
let textOf, namespaceOf, targetOf;
class DurableObjectId {
  // `namespace`: the number of the one that is known to have made it.
  #text; #namespace;
  constructor(given, text, name, namespace) {
    if (given !== secret) throw core.illegal();
    this.#text = text;
    this.#namespace = namespace;
    ops.ownOfId(this, name);
  }
  toString() { return this.#text; }
  equals(other) { return #text in other && other.#text === this.#text; }
  static {
    textOf = (id) => (typeof id === 'object' && id !== null && #text in id ? id.#text : null);
    namespaceOf = (id) => id.#namespace;
  }
}
core.brand(DurableObjectId, 'DurableObjectId');
const idOf = (text, name, namespace) => new DurableObjectId(secret, text, name, namespace);

class DurableObject {
  #target;
  constructor(given, target, id) {
    if (given !== secret) throw core.illegal();
    this.#target = target;
    ops.ownOfStub(this, target[2] ?? undefined, id);
  }
  fetch(input, init = undefined) { return core.fetch(this.#target, input, init); }
  static { targetOf = (stub) => stub.#target; }
}
core.brand(DurableObject, 'DurableObject');

/** What a call will give; its members and methods can be asked for before it is there. */
class JsRpcPromise {}
core.brand(JsRpcPromise, 'JsRpcPromise');
const pipeline = (promise, owner) => lazily(() => promise, owner,
  (name) => pipeline(core.handled(core.then(promise, (value) => value[name])), promise),
  (args) => pipeline(core.handled(core.then(promise, async (value) => p.apply(value, await owner, args))), promise));
const lazily = (promise, owner, member, call) => new Proxy(function () {}, {
  __proto__: null,
  apply: (_, self, args) => call(args),
  get: (_, name) => {
    if (typeof name === 'symbol') return name === Symbol.toStringTag ? 'JsRpcPromise' : undefined;
    if (name === 'then') return (done, failed) => p.PromiseThen(promise(), done, failed);
    if (name === 'catch') return (failed) => p.PromiseThen(promise(), undefined, failed);
    if (name === 'finally') return (run) => promiseFinally(promise(), run);
    return member(name);
  },
  getPrototypeOf: () => JsRpcPromise.prototype,
  set: () => false, deleteProperty: () => false, defineProperty: () => false,
});
const promiseFinally = p.uncurry(p.Promise.prototype.finally);
/** A method, or a property that is read by waiting for it; its members are on the other side as well. */
const remote = (target, path) => lazily(() => core.rpc(target, path, null), null,
  (name) => remote(target, [...path, name]),
  (args) => pipeline(core.rpc(target, path, args), undefined));
const STUB = {
  __proto__: null,
  get: (of, name) => {
    if (name === 'fetch') return (input, init = undefined) => core.fetch(targetOf(of), input, init);
    if (name in of) {
      const value = of[name];
      return typeof value === 'function' && name !== 'constructor' ? (...args) => p.apply(value, of, args) : value;
    }
    return typeof name === 'symbol' || name === 'then' ? undefined : remote(targetOf(of), [name]);
  },
  has: () => true,
};
const stubOf = (target, id) => new Proxy(new DurableObject(secret, target, id), STUB);

class DurableObjectNamespace {
  #index;
  constructor(given, index) { if (given !== secret) throw core.illegal(); this.#index = index; }
  newUniqueId(options = undefined) { void options?.jurisdiction; return idOf(ops.idNew(this.#index), undefined, this.#index); }
  idFromName(name) {
    if (arguments.length === 0) throw new p.TypeError("Failed to execute 'idFromName' on 'DurableObjectNamespace': parameter 1 is not of type 'string'.");
    name = `${name}`; return idOf(ops.idFromName(this.#index, name), name, this.#index);
  }
  idFromString(text) {
    text = `${text}`;
    if (!p.RegExpTest(/^[0-9a-fA-F]{64}$/, text)) throw new p.TypeError('Invalid Durable Object ID: must be 64 hex digits');
    if (!ops.idCheck(this.#index, text)) throw new p.TypeError('Durable Object ID is not valid for this namespace.');
    return idOf(p.StringToLowerCase(text), undefined, this.#index);
  }
  get(id, options = undefined) {
    void options?.locationHint;
    const text = textOf(id);
    if (text === null) {
      throw new p.TypeError("Failed to execute 'get' on 'DurableObjectNamespace': parameter 1 is not of type 'DurableObjectId'.");
    }
    if (namespaceOf(id) !== this.#index && !ops.idCheck(this.#index, text)) throw new p.TypeError('get called on jurisdictional subnamespace with an ID from a different jurisdiction');
    return stubOf([this.#index, text, id.name ?? null, null], id);
  }
  getByName(name, options = undefined) { return this.get(this.idFromName(name), options); }
  jurisdiction(name) { void name; return this; }
}
core.brand(DurableObjectNamespace, 'DurableObjectNamespace');
return { open: (index) => new DurableObjectNamespace(secret, index), id: (text, name) => idOf(text, name, null) };
