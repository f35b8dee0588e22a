const { p } = core;
const makeIterator = core.iteratorClass('Headers Iterator');
const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/, VALUE = /^[^\0\r\n]*$/, EDGES = /^[\t\n\r ]+|[\t\n\r ]+$/g;
const replace = p.uncurry(RegExp.prototype[Symbol.replace]);
const nameOf = (name) => {
  name = core.usv(name);
  if (!p.RegExpTest(TOKEN, name)) throw new p.TypeError('Invalid header name.');
  return p.StringToLowerCase(name);
};
const valueOf = (value) => {
  value = replace(EDGES, core.usv(value), '');
  if (!p.RegExpTest(VALUE, value)) throw new p.TypeError('Invalid header value.');
  return value;
};
let listOf, guard, isHeaders;

class Headers {
  // name in lower case => values in the order they came
  #map = new p.Map(); #frozen = false;
  constructor(init = undefined) {
    if (init === undefined) return;
    if (init === null || (typeof init !== 'object' && typeof init !== 'function')) throw new p.TypeError('the headers are neither a sequence nor a record');
    if (#map in init && init[p.iterator] === Headers.prototype.entries) {
      p.MapForEach(init.#map, (values, name) => p.MapSet(this.#map, name, p.ArraySlice(values)));
      return;
    }
    const iterator = init[p.iterator];
    if (iterator !== undefined && iterator !== null) {
      const items = core.list(init);
      for (let i = 0; i < items.length; i++) {
        if (items[i] === null || typeof items[i] !== 'object') throw new p.TypeError('a header is no sequence');
        const pair = core.list(items[i]);
        if (pair.length !== 2) throw new p.TypeError('a header has not two items');
        this.#add(nameOf(pair[0]), valueOf(pair[1]));
      }
      return;
    }
    const keys = p.ownKeys(init);
    for (let i = 0; i < keys.length; i++) {
      const held = p.getOwnPropertyDescriptor(init, keys[i]);
      if (held === undefined || !held.enumerable) continue;
      if (typeof keys[i] === 'symbol') throw new p.TypeError('a name of a header is a symbol');
      this.#add(nameOf(keys[i]), valueOf(init[keys[i]]));
    }
  }
  #add(name, value) {
    const held = p.MapGet(this.#map, name);
    if (held === undefined) p.MapSet(this.#map, name, [value]);
    else p.ArrayPush(held, value);
  }
  #write() { if (this.#frozen) throw new p.TypeError('Can\'t modify immutable headers.'); }
  append(name, value) {
    if (arguments.length < 2) throw new p.TypeError('append needs a name and a value');
    name = nameOf(name);
    value = valueOf(value);
    this.#write();
    this.#add(name, value);
  }
  delete(name) { name = nameOf(name); this.#write(); p.MapDelete(this.#map, name); }
  get(name) {
    const held = p.MapGet(this.#map, nameOf(name));
    return held === undefined ? null : p.ArrayJoin(held, ', ');
  }
  has(name) { return p.MapHas(this.#map, nameOf(name)); }
  set(name, value) {
    if (arguments.length < 2) throw new p.TypeError('set needs a name and a value');
    name = nameOf(name);
    value = valueOf(value);
    this.#write();
    p.MapSet(this.#map, name, [value]);
  }
  getSetCookie() { return p.ArraySlice(p.MapGet(this.#map, 'set-cookie') ?? []); }
  getAll(name) {
    if (p.StringToLowerCase(core.usv(name)) !== 'set-cookie') throw new p.TypeError('getAll() can only be used with the header name "Set-Cookie".');
    return this.getSetCookie();
  }
  forEach(callback, self = undefined) {
    if (typeof callback !== 'function') throw new p.TypeError('forEach needs a function');
    const all = this.#sorted();
    for (let i = 0; i < all.length; i++) p.apply(callback, self, [all[i][1], all[i][0], this]);
  }
  #sorted() {
    const out = [];
    p.MapForEach(this.#map, (values, name) => {
      if (name === 'set-cookie') for (let i = 0; i < values.length; i++) p.ArrayPush(out, [name, values[i]]);
      else p.ArrayPush(out, [name, p.ArrayJoin(values, ', ')]);
    });
    return p.ArraySort(out, (a, b) => (a[0] < b[0] ? -1 : a[0] > b[0] ? 1 : 0));
  }
  entries() { const all = this.#sorted(); return makeIterator((i) => all[i], 2); }
  keys() { const all = this.#sorted(); return makeIterator((i) => all[i], 0); }
  values() { const all = this.#sorted(); return makeIterator((i) => all[i], 1); }
  static {
    /** Pairs for the wire: every value on its own. */
    listOf = (headers) => {
      const out = [];
      p.MapForEach(headers.#map, (values, name) => { for (let i = 0; i < values.length; i++) p.ArrayPush(out, [name, values[i]]); });
      return out;
    };
    isHeaders = (value) => typeof value === 'object' && value !== null && #map in value;
    guard = (headers) => { headers.#frozen = true; return headers; };
  }
}
core.brand(Headers, 'Headers');
p.defineProperty(Headers.prototype, p.iterator, { __proto__: null, value: Headers.prototype.entries, writable: true, configurable: true });
/** Headers that came by the wire: they were checked there, and may hold what a user could not set. */
const fromWire = (pairs) => {
  const headers = new Headers();
  for (let i = 0; i < pairs.length; i++) {
    try { headers.append(pairs[i][0], pairs[i][1]); } catch { continue; }
  }
  return headers;
};
return { Headers, isHeaders, listOf, guard, fromWire };
