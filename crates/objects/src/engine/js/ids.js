// Ids: what an object has of its own, also where it calls no other.
const secret = {};
let textOf, namespaceOf;
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
return { make: (text, name, namespace) => new DurableObjectId(secret, text, name, namespace), textOf, namespaceOf };
