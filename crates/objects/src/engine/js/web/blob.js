const { p } = core;
const { fromBytes } = core.load('streams');
let bytesOf;
const secret = {};
/** The type as the File API keeps it: printable ASCII in lower case, or nothing. */
const cleanType = (type) => {
  const text = core.usv(type);
  for (let i = 0; i < text.length; i++) {
    const unit = p.StringCharCodeAt(text, i);
    if (unit < 0x20 || unit > 0x7e) return '';
  }
  return p.StringToLowerCase(text);
};
const gather = (parts) => {
  if (parts === undefined) return new p.Uint8Array(0);
  if (parts === null || typeof parts !== 'object' || typeof parts[p.iterator] !== 'function') throw new p.TypeError('the parts of a blob are no sequence');
  const items = core.list(parts), chunks = [];
  let total = 0;
  for (let i = 0; i < items.length; i++) {
    const item = items[i];
    const chunk = bytesOf(item) ?? core.viewOf(item) ?? ops.utf8Encode(core.usv(item));
    p.ArrayPush(chunks, chunk);
    total += chunk.length;
  }
  const all = new p.Uint8Array(total);
  for (let i = 0, at = 0; i < chunks.length; at += chunks[i].length, i++) p.TypedSet(all, chunks[i], at);
  return all;
};
const clamp = (value, size, fallback) => {
  if (value === undefined) return fallback;
  const n = p.Number(value);
  const whole = n !== n ? 0 : n < 0 ? -p.floor(-n) : p.floor(n);
  return whole < 0 ? (size + whole > 0 ? size + whole : 0) : p.min(whole, size);
};

class Blob {
  #bytes; #type;
  constructor(parts = undefined, options = undefined) {
    if (parts === secret) { this.#bytes = options.bytes; this.#type = options.type; return; }
    this.#bytes = gather(parts);
    this.#type = options?.type === undefined ? '' : cleanType(options.type);
  }
  get size() { return this.#bytes.length; }
  get type() { return this.#type; }
  slice(start = undefined, end = undefined, type = undefined) {
    const size = this.#bytes.length;
    const from = clamp(start, size, 0), to = clamp(end, size, size);
    return new Blob(secret, { bytes: p.TypedSubarray(this.#bytes, from, to > from ? to : from), type: type === undefined ? '' : cleanType(type) });
  }
  async text() { return ops.utf8Decode(this.#bytes); }
  async arrayBuffer() { return p.typedBuffer(p.TypedSlice(this.#bytes)); }
  async bytes() { return p.TypedSlice(this.#bytes); }
  stream() { return fromBytes(p.TypedSlice(this.#bytes)); }
  static { bytesOf = (value) => (typeof value === 'object' && value !== null && #bytes in value ? value.#bytes : null); }
}
core.brand(Blob, 'Blob');

class File extends Blob {
  #name; #modified;
  constructor(parts, name, options = undefined) {
    if (parts === secret) super(secret, options);
    else {
      if (arguments.length < 2) throw new p.TypeError('File needs parts and a name');
      super(parts, options);
    }
    this.#name = core.usv(name);
    this.#modified = options?.lastModified === undefined ? ops.now() : p.Number(options.lastModified);
  }
  get name() { return this.#name; }
  get lastModified() { return this.#modified; }
}
core.brand(File, 'File');

return {
  Blob, File, bytesOf,
  copy: (blob) => (blob instanceof File ? new File(secret, blob.name, { bytes: bytesOf(blob), type: blob.type, lastModified: blob.lastModified }) : new Blob(secret, { bytes: bytesOf(blob), type: blob.type })),
  make: (bytes, type) => new Blob(secret, { bytes, type: cleanType(type) }),
  makeFile: (bytes, name, type) => new File(secret, name, { bytes, type }),
};
