// Namespaces and stubs.
const { p } = core;
const { Proxy } = globalThis;
const secret = {};
const { make: idOf, textOf, namespaceOf } = core.load('ids');
let targetOf, whole;

class DurableObject {
  // `id`: `null` until it is made, `undefined` once name and id are properties. Most stubs are made for one call.
  #target; #id;
  constructor(given, target, id) {
    if (given !== secret) throw core.illegal();
    this.#target = target;
    this.#id = id;
  }
  fetch(input, init = undefined) { return core.fetch(this.#target, input, init); }
  static {
    targetOf = (stub) => stub.#target;
    /** With its own properties. */
    whole = (stub) => {
      if (stub.#id === undefined) return stub;
      const target = stub.#target, name = target[2] ?? undefined, id = stub.#id ?? idOf(target[1], name, target[0]);
      stub.#id = undefined;
      ops.ownOfStub(stub, name, id);
      return stub;
    };
  }
}
core.brand(DurableObject, 'DurableObject');
core.keepLayouts(DurableObject, [], new DurableObject(secret, null, null));

/** Asked of what looks like a stub, for its namespace, id and name. */
const PLACE = p.Symbol('place');
const STUB = {
  __proto__: null,
  get: (of, name) => {
    if (name === 'fetch') return (input, init = undefined) => core.fetch(targetOf(of), input, init);
    if (name in (name === 'id' || name === 'name' ? whole(of) : of)) {
      const value = of[name];
      return typeof value === 'function' && name !== 'constructor' ? (...args) => p.apply(value, of, args) : value;
    }
    if (typeof name === 'symbol') return name === PLACE ? p.ArraySlice(targetOf(of), 0, 3) : undefined;
    if (name === 'then') return undefined;
    const target = targetOf(of);
    return core.load('stubs').remote((path, args) => core.rpc(target, path, args), [name]);
  },
  has: () => true,
  ownKeys: (of) => p.ownKeys(whole(of)),
  getOwnPropertyDescriptor: (of, name) => p.getOwnPropertyDescriptor(whole(of), name),
  defineProperty: (of, name, at) => p.defineProperty(whole(of), name, at),
  deleteProperty: (of, name) => p.deleteProperty(whole(of), name),
  preventExtensions: (of) => p.preventExtensions(whole(of)),
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
  getByName(name, options = undefined) {
    void options?.locationHint;
    name = `${name}`;
    return stubOf([this.#index, ops.idFromName(this.#index, name), name, null], null);
  }
  jurisdiction(name) { void name; return this; }
}
core.brand(DurableObjectNamespace, 'DurableObjectNamespace');
return {
  open: (index) => new DurableObjectNamespace(secret, index),
  /** Where a stub leads, for one that leads there too; null for what is no stub. */
  placeOf: (value) => (typeof value === 'object' && p.getPrototypeOf(value) === DurableObject.prototype ? value[PLACE] ?? null : null),
  at: ([index, text, name]) => stubOf([index, text, name, null], null),
};
