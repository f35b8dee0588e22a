const { p } = core;
const makeIterator = core.iteratorClass('URLSearchParams Iterator');

class URLSearchParams {
  #pairs = []; #url = null;
  constructor(init = '') {
    if (typeof init === 'object' && init != null || typeof init === 'function') {
      if (#pairs in init && init[p.iterator] === URLSearchParams.prototype.entries) {
        for (let i = 0; i < init.#pairs.length; i++) p.ArrayPush(this.#pairs, [init.#pairs[i][0], init.#pairs[i][1]]);
      } else if (init[p.iterator] !== undefined && init[p.iterator] != null) {
        const items = core.list(init);
        for (let i = 0; i < items.length; i++) {
          const item = items[i];
          if ((typeof item !== 'object' && typeof item !== 'function') || item == null) throw new p.TypeError('a pair is no sequence');
          const pair = core.list(item);
          if (pair.length !== 2) throw new p.TypeError('a pair has not two items');
          p.ArrayPush(this.#pairs, [core.usv(pair[0]), core.usv(pair[1])]);
        }
      } else {
        const keys = p.keys(init);
        for (let i = 0; i < keys.length; i++) {
          const key = core.usv(keys[i]), value = core.usv(init[keys[i]]);
          const held = this.#find(key);
          if (held != null) held[1] = value;
          else p.ArrayPush(this.#pairs, [key, value]);
        }
      }
    } else {
      const text = core.usv(init);
      this.#parse(text[0] === '?' ? p.StringSlice(text, 1) : text);
    }
  }
  #parse(text) {
    const flat = text === '' ? [] : ops.formParse(text);
    this.#pairs = [];
    for (let i = 0; i < flat.length; i += 2) p.ArrayPush(this.#pairs, [flat[i], flat[i + 1]]);
  }
  #find(name) {
    for (let i = 0; i < this.#pairs.length; i++) if (this.#pairs[i][0] === name) return this.#pairs[i];
    return null;
  }
  #text() {
    const flat = [];
    for (let i = 0; i < this.#pairs.length; i++) { p.ArrayPush(flat, this.#pairs[i][0], this.#pairs[i][1]); }
    return flat.length === 0 ? '' : ops.formSerialize(flat);
  }
  #changed() { if (this.#url != null) this.#url(this.#text()); }
  get size() { return this.#pairs.length; }
  append(name, value) {
    if (arguments.length < 2) throw new p.TypeError('append needs a name and a value');
    p.ArrayPush(this.#pairs, [core.usv(name), core.usv(value)]);
    this.#changed();
  }
  delete(name, value = undefined) {
    if (arguments.length < 1) throw new p.TypeError('delete needs a name');
    name = core.usv(name);
    if (value !== undefined) value = core.usv(value);
    const kept = [];
    for (let i = 0; i < this.#pairs.length; i++) {
      const pair = this.#pairs[i];
      if (pair[0] !== name || (value !== undefined && pair[1] !== value)) p.ArrayPush(kept, pair);
    }
    this.#pairs = kept;
    this.#changed();
  }
  get(name) {
    if (arguments.length < 1) throw new p.TypeError('get needs a name');
    return this.#find(core.usv(name))?.[1] ?? null;
  }
  getAll(name) {
    if (arguments.length < 1) throw new p.TypeError('getAll needs a name');
    name = core.usv(name);
    const out = [];
    for (let i = 0; i < this.#pairs.length; i++) if (this.#pairs[i][0] === name) p.ArrayPush(out, this.#pairs[i][1]);
    return out;
  }
  has(name, value = undefined) {
    if (arguments.length < 1) throw new p.TypeError('has needs a name');
    name = core.usv(name);
    if (value !== undefined) value = core.usv(value);
    for (let i = 0; i < this.#pairs.length; i++) {
      const pair = this.#pairs[i];
      if (pair[0] === name && (value === undefined || pair[1] === value)) return true;
    }
    return false;
  }
  set(name, value) {
    if (arguments.length < 2) throw new p.TypeError('set needs a name and a value');
    name = core.usv(name);
    value = core.usv(value);
    const kept = [];
    let done = false;
    for (let i = 0; i < this.#pairs.length; i++) {
      const pair = this.#pairs[i];
      if (pair[0] !== name) p.ArrayPush(kept, pair);
      else if (!done) { done = true; pair[1] = value; p.ArrayPush(kept, pair); }
    }
    if (!done) p.ArrayPush(kept, [name, value]);
    this.#pairs = kept;
    this.#changed();
  }
  sort() {
    p.ArraySort(this.#pairs, (a, b) => (a[0] < b[0] ? -1 : a[0] > b[0] ? 1 : 0));
    this.#changed();
  }
  forEach(callback, self = undefined) {
    if (typeof callback !== 'function') throw new p.TypeError('forEach needs a function');
    for (let i = 0; i < this.#pairs.length; i++) p.apply(callback, self, [this.#pairs[i][1], this.#pairs[i][0], this]);
  }
  entries() { this.#pairs; return makeIterator((i) => this.#pairs[i], 2); }
  keys() { this.#pairs; return makeIterator((i) => this.#pairs[i], 0); }
  values() { this.#pairs; return makeIterator((i) => this.#pairs[i], 1); }
  toString() { return this.#text(); }
  static tie(params, query, changed) { params.#url = changed; params.#parse(query); }
  static reparse(params, query) { params.#parse(query); }
  static is(value) { return typeof value === 'object' && value != null && #pairs in value; }
}
const { tie, reparse, is: isParams } = URLSearchParams;
delete URLSearchParams.tie;
delete URLSearchParams.reparse;
delete URLSearchParams.is;
const alias = (C, from, key) => p.defineProperty(C.prototype, key, { __proto__: null, value: C.prototype[from], writable: true, configurable: true });
core.brand(URLSearchParams, 'URLSearchParams');
alias(URLSearchParams, 'entries', p.iterator);

// The order of the parts that Rust gives.
const HREF = 0, ORIGIN = 1, PROTOCOL = 2, USERNAME = 3, PASSWORD = 4, HOST = 5, HOSTNAME = 6, PORT = 7, PATHNAME = 8, SEARCH = 9, HASH = 10;
const parse = (url, base) => {
  const href = base === undefined ? ops.urlHref(core.usv(url)) : ops.urlJoin(core.usv(url), core.usv(base));
  return href == null ? null : [href];
};

class URL {
  // The URL, and those of its parts that were asked for.
  #parts; #params = null;
  constructor(url, base = undefined) {
    if (arguments.length === 0) throw new p.TypeError('URL needs an argument');
    const parts = parse(url, base);
    if (parts == null) throw new p.TypeError('Invalid URL string.');
    this.#parts = parts;
  }
  static canParse(url, base = undefined) { return parse(url, base) != null; }
  static parse(url, base = undefined) {
    const parts = parse(url, base);
    return parts == null ? null : new URL(parts[HREF]);
  }
  #set(part, value) {
    const parts = ops.urlSet(this.#parts[HREF], part, core.usv(value));
    if (parts != null) this.#parts = parts;
    return parts != null;
  }
  #part(index) { return (this.#parts[index] ??= ops.urlPart(this.#parts[HREF], index)); }
  #query() { return p.StringSlice(this.#part(SEARCH), 1); }
  #refresh() { if (this.#params != null) reparse(this.#params, this.#query()); }
  get href() { return this.#parts[HREF]; }
  set href(value) {
    const parts = parse(value, undefined);
    if (parts == null) throw new p.TypeError('Invalid URL string.');
    this.#parts = parts;
    this.#refresh();
  }
  get origin() { return this.#part(ORIGIN); }
  get protocol() { return this.#part(PROTOCOL); }
  set protocol(value) { this.#set(PROTOCOL, value); }
  get username() { return this.#part(USERNAME); }
  set username(value) { this.#set(USERNAME, value); }
  get password() { return this.#part(PASSWORD); }
  set password(value) { this.#set(PASSWORD, value); }
  get host() { return this.#part(HOST); }
  set host(value) { this.#set(HOST, value); }
  get hostname() { return this.#part(HOSTNAME); }
  set hostname(value) { this.#set(HOSTNAME, value); }
  get port() { return this.#part(PORT); }
  set port(value) { this.#set(PORT, value); }
  get pathname() { return this.#part(PATHNAME); }
  set pathname(value) { this.#set(PATHNAME, value); }
  get search() { return this.#part(SEARCH); }
  set search(value) { this.#set(SEARCH, value); this.#refresh(); }
  get hash() { return this.#part(HASH); }
  set hash(value) { this.#set(HASH, value); }
  get searchParams() {
    if (this.#params == null) {
      this.#params = new URLSearchParams();
      tie(this.#params, this.#query(), (text) => { this.#set(SEARCH, text); });
    }
    return this.#params;
  }
  toString() { return this.#parts[HREF]; }
  toJSON() { return this.#parts[HREF]; }
  static is(value) { return typeof value === 'object' && value != null && #parts in value; }
}
const isUrl = URL.is;
delete URL.is;
core.brand(URL, 'URL');
return { URL, URLSearchParams, parse, isUrl, isParams };
