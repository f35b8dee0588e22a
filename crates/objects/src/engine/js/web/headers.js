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
const fromText = {};
let textOf, guard, isHeaders, setRaw;

class Headers {
  // As they cross the wire, `name\nvalue\n` of each, until somebody looks; then by name in lower case, values in the order they came.
  #text = ''; #map = null; #frozen = false;
  constructor(init = undefined, text = undefined) {
    if (init === undefined) return;
    if (init === fromText) { this.#text = text; return; }
    if (init === null || (typeof init !== 'object' && typeof init !== 'function')) throw new p.TypeError('the headers are neither a sequence nor a record');
    if (#map in init && init[p.iterator] === Headers.prototype.entries) {
      this.#text = textOf(init);
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
  #open() {
    if (this.#map !== null) return this.#map;
    const map = this.#map = new p.Map();
    if (this.#text !== '') {
      const parts = p.StringSplit(this.#text, '\n');
      this.#text = '';
      for (let i = 0; i + 1 < parts.length; i += 2) this.#add(parts[i], parts[i + 1]);
    }
    return map;
  }
  #add(name, value) {
    const map = this.#open(), held = p.MapGet(map, name);
    if (held === undefined) p.MapSet(map, name, [value]);
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
  delete(name) { name = nameOf(name); this.#write(); p.MapDelete(this.#open(), name); }
  get(name) {
    name = nameOf(name);
    const held = p.MapGet(this.#open(), name);
    return held === undefined ? null : p.ArrayJoin(held, ', ');
  }
  has(name) { name = nameOf(name); return p.MapHas(this.#open(), name); }
  set(name, value) {
    if (arguments.length < 2) throw new p.TypeError('set needs a name and a value');
    name = nameOf(name);
    value = valueOf(value);
    this.#write();
    p.MapSet(this.#open(), name, [value]);
  }
  getSetCookie() { return p.ArraySlice(p.MapGet(this.#open(), 'set-cookie') ?? []); }
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
    p.MapForEach(this.#open(), (values, name) => {
      if (name === 'set-cookie') for (let i = 0; i < values.length; i++) p.ArrayPush(out, [name, values[i]]);
      else p.ArrayPush(out, [name, p.ArrayJoin(values, ', ')]);
    });
    return p.ArraySort(out, (a, b) => (a[0] < b[0] ? -1 : a[0] > b[0] ? 1 : 0));
  }
  entries() { const all = this.#sorted(); return makeIterator((i) => all[i], 2); }
  keys() { const all = this.#sorted(); return makeIterator((i) => all[i], 0); }
  values() { const all = this.#sorted(); return makeIterator((i) => all[i], 1); }
  static {
    /** For the wire: every value on its own. */
    textOf = (headers) => {
      if (headers.#map === null) return headers.#text;
      let out = '';
      p.MapForEach(headers.#map, (values, name) => { for (let i = 0; i < values.length; i++) out += `${name}\n${values[i]}\n`; });
      return out;
    };
    /** Of a header that is not there yet: both in the form that is sent. */
    setRaw = (headers, name, value) => {
      if (headers.#map === null && headers.#text === '') headers.#text = `${name}\n${value}\n`;
      else if (!p.MapHas(headers.#open(), name)) p.MapSet(headers.#map, name, [value]);
    };
    isHeaders = (value) => typeof value === 'object' && value !== null && #map in value;
    guard = (headers) => { headers.#frozen = true; return headers; };
  }
}
core.brand(Headers, 'Headers');
p.defineProperty(Headers.prototype, p.iterator, { __proto__: null, value: Headers.prototype.entries, writable: true, configurable: true });
/** Headers that came by the wire: they were checked there, and may hold what a user could not set. */
const fromWire = (text) => new Headers(fromText, text);
return { Headers, isHeaders, textOf, setRaw, guard, fromWire };
