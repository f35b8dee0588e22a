// ctx.storage.sql
const { p } = core;
const secret = {};
const bind = (value) => {
  switch (typeof value) {
    case 'object': {
      if (value === null) return null;
      const view = core.viewOf(value);
      if (view !== null) return view;
      return `${value}`;
    }
    case 'undefined': return null;
    case 'bigint': throw new p.TypeError('Cannot convert a BigInt value to a number');
    case 'number': case 'string': return value;
    default: return `${value}`;
  }
};
const column = (value) => p.isView(value) ? p.typedBuffer(value) : value;
class Cursor {
  #rows; #names; #counts;
  /** `rows`: null where there are none left. */
  constructor(given, rows, counts, names) {
    if (given !== secret) throw core.illegal();
    this.#rows = rows; this.#counts = counts; this.#names = names;
  }
  #row() {
    if (this.#rows === null) return undefined;
    const row = ops.sqlNext(this.#rows);
    if (row === undefined) { this.#counts = ops.sqlCounts(this.#rows) ?? this.#counts; ops.sqlClose(this.#rows); this.#rows = null; return undefined; }
    for (let i = 0; i < row.length; i++) row[i] = column(row[i]);
    return row;
  }
  #object(row) {
    const object = {};
    for (let i = 0; i < row.length; i++) p.defineProperty(object, this.#names[i], { __proto__: null, value: row[i], writable: true, enumerable: true, configurable: true });
    return object;
  }
  #count(which) { return ((this.#rows === null ? undefined : ops.sqlCounts(this.#rows)) ?? this.#counts)[which]; }
  next() { const row = this.#row(); return row === undefined ? { done: true, value: undefined } : { done: false, value: this.#object(row) }; }
  toArray() { const all = []; for (let row = this.#row(); row !== undefined; row = this.#row()) p.ArrayPush(all, this.#object(row)); return all; }
  one() {
    const row = this.#row();
    if (row === undefined) throw new p.Error('Expected exactly one result from SQL query, but got no results.');
    if (this.#row() !== undefined) throw new p.Error('Expected exactly one result from SQL query, but got multiple results.');
    return this.#object(row);
  }
  raw() { return rawIterator({ next: () => { const row = this.#row(); return row === undefined ? { done: true, value: undefined } : { done: false, value: row }; } }); }
  get columnNames() { return [...this.#names]; }
  get rowsRead() { return this.#count(0); }
  get rowsWritten() { return this.#count(1); }
  [Symbol.iterator]() { return this; }
}
core.brand(Cursor, 'Cursor');
const rawProto = {
  [Symbol.iterator]() { return this; },
  toArray() { const all = []; for (let at = this.next(); !at.done; at = this.next()) p.ArrayPush(all, at.value); return all; },
};
const rawIterator = (of) => {
  const iterator = p.create(rawProto);
  p.defineProperty(iterator, 'next', { __proto__: null, value: of.next, enumerable: false, configurable: true, writable: true });
  return iterator;
};
class SqlStorage {
  constructor(given) { if (given !== secret) throw core.illegal(); }
  exec(query, ...bindings) {
    for (let i = 0; i < bindings.length; i++) bindings[i] = bind(bindings[i]);
    const [rows, read, written, ...names] = ops.sqlExec(`${query}`, bindings);
    return new Cursor(secret, rows, [read, written], names);
  }
  get databaseSize() { return ops.databaseSize(); }
  get Cursor() { return Cursor; }
}
core.brand(SqlStorage, 'SqlStorage');
return { open: () => new SqlStorage(secret) };
