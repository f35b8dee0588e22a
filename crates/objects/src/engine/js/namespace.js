// Ids, namespaces and stubs.
const { p } = core;
const { Proxy } = globalThis;
const secret = {};
class DurableObjectId {
  #text;
  constructor(given, text, name) {
    if (given !== secret) throw core.illegal();
    this.#text = text;
    if (name !== undefined) p.defineProperty(this, 'name', { __proto__: null, value: name, writable: false, enumerable: true, configurable: true });
  }
  toString() { return this.#text; }
  equals(other) { return #text in other && other.#text === this.#text; }
}
core.brand(DurableObjectId, 'DurableObjectId');
const idOf = (text, name) => new DurableObjectId(secret, text, name);

class DurableObjectStub {
  #target; #id;
  constructor(given, target, id) {
    if (given !== secret) throw core.illegal();
    this.#target = target; this.#id = id;
  }
  get id() { return this.#id; }
  get name() { return this.#id.name; }
  fetch(input, init = undefined) { return core.fetch(this.#target, input, init); }
}
core.brand(DurableObjectStub, 'DurableObject');

/** A method, or a property that is read by waiting for it; its members are on the other side as well. */
const remote = (target, path) => new Proxy(function () {}, {
  __proto__: null,
  apply: (_, self, args) => core.rpc(target, path, args),
  get: (_, name) => {
    if (typeof name === 'symbol') return undefined;
    if (name === 'then') return (done, failed) => p.PromiseThen(core.rpc(target, path, null), done, failed);
    if (name === 'catch') return (failed) => p.PromiseThen(core.rpc(target, path, null), undefined, failed);
    if (name === 'finally') return (run) => core.rpc(target, path, null).finally(run);
    return remote(target, [...path, name]);
  },
  set: () => false, deleteProperty: () => false, defineProperty: () => false,
});
const stubOf = (target, id) => {
  const stub = new DurableObjectStub(secret, target, id);
  return new Proxy(stub, {
    __proto__: null,
    get: (of, name) => {
      if (name in of) {
        const value = of[name];
        return typeof value === 'function' && name !== 'constructor' ? (...args) => p.apply(value, of, args) : value;
      }
      return typeof name === 'symbol' || name === 'then' ? undefined : remote(target, [name]);
    },
  });
};

class DurableObjectNamespace {
  #index;
  constructor(given, index) { if (given !== secret) throw core.illegal(); this.#index = index; }
  newUniqueId(options = undefined) { void options?.jurisdiction; return idOf(ops.idNew(this.#index), undefined); }
  idFromName(name) { name = `${name}`; return idOf(ops.idFromName(this.#index, name), name); }
  idFromString(text) {
    text = `${text}`;
    if (!p.RegExpTest(/^[0-9a-fA-F]{64}$/, text)) throw new p.TypeError('Invalid Durable Object ID: must be 64 hex digits');
    if (!ops.idCheck(this.#index, text)) throw new p.TypeError('Durable Object ID is not valid for this namespace.');
    return idOf(p.StringToLowerCase(text), undefined);
  }
  get(id, options = undefined) {
    void options?.locationHint;
    if (!(id instanceof DurableObjectId)) {
      throw new p.TypeError("Failed to execute 'get' on 'DurableObjectNamespace': parameter 1 is not of type 'DurableObjectId'.");
    }
    if (!ops.idCheck(this.#index, id.toString())) throw new p.TypeError('get called on jurisdictional subnamespace with an ID from a different jurisdiction');
    return stubOf([this.#index, id.toString(), id.name ?? null], id);
  }
  getByName(name, options = undefined) { return this.get(this.idFromName(name), options); }
  jurisdiction(name) { void name; return this; }
}
core.brand(DurableObjectNamespace, 'DurableObjectNamespace');
return { open: (index) => new DurableObjectNamespace(secret, index), id: idOf };
