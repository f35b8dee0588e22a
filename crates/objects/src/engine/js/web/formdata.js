const { p } = core;
const { File, bytesOf, makeFile } = core.load('blob');
const makeIterator = core.iteratorClass('FormData Iterator');
let pairsOf;
const entry = (value, filename) => {
  const bytes = bytesOf(value);
  if (bytes == null) return core.usv(value);
  if (value instanceof File && filename === undefined) return value;
  return makeFile(bytes, filename === undefined ? 'blob' : core.usv(filename), value.type);
};
class FormData {
  #pairs = [];
  constructor(form = undefined) { if (form !== undefined) throw new p.TypeError('there are no forms here'); }
  append(name, value, filename = undefined) {
    if (arguments.length < 2) throw new p.TypeError('append needs a name and a value');
    p.ArrayPush(this.#pairs, [core.usv(name), entry(value, filename)]);
  }
  delete(name) {
    name = core.usv(name);
    const kept = [];
    for (let i = 0; i < this.#pairs.length; i++) if (this.#pairs[i][0] !== name) p.ArrayPush(kept, this.#pairs[i]);
    this.#pairs = kept;
  }
  get(name) {
    name = core.usv(name);
    for (let i = 0; i < this.#pairs.length; i++) if (this.#pairs[i][0] === name) return this.#pairs[i][1];
    return null;
  }
  getAll(name) {
    name = core.usv(name);
    const out = [];
    for (let i = 0; i < this.#pairs.length; i++) if (this.#pairs[i][0] === name) p.ArrayPush(out, this.#pairs[i][1]);
    return out;
  }
  has(name) {
    name = core.usv(name);
    for (let i = 0; i < this.#pairs.length; i++) if (this.#pairs[i][0] === name) return true;
    return false;
  }
  set(name, value, filename = undefined) {
    if (arguments.length < 2) throw new p.TypeError('set needs a name and a value');
    name = core.usv(name);
    value = entry(value, filename);
    const kept = [];
    let done = false;
    for (let i = 0; i < this.#pairs.length; i++) {
      if (this.#pairs[i][0] !== name) p.ArrayPush(kept, this.#pairs[i]);
      else if (!done) { done = true; p.ArrayPush(kept, [name, value]); }
    }
    if (!done) p.ArrayPush(kept, [name, value]);
    this.#pairs = kept;
  }
  forEach(callback, self = undefined) {
    if (typeof callback !== 'function') throw new p.TypeError('forEach needs a function');
    for (let i = 0; i < this.#pairs.length; i++) p.apply(callback, self, [this.#pairs[i][1], this.#pairs[i][0], this]);
  }
  entries() { this.#pairs; return makeIterator((i) => this.#pairs[i], 2); }
  keys() { this.#pairs; return makeIterator((i) => this.#pairs[i], 0); }
  values() { this.#pairs; return makeIterator((i) => this.#pairs[i], 1); }
  static { pairsOf = (value) => (typeof value === 'object' && value != null && #pairs in value ? value.#pairs : null); }
}
core.brand(FormData, 'FormData');
p.defineProperty(FormData.prototype, p.iterator, { __proto__: null, value: FormData.prototype.entries, writable: true, configurable: true });

const quote = (name) => p.StringReplaceAll(p.StringReplaceAll(p.StringReplaceAll(name, '\r', '%0D'), '\n', '%0A'), '"', '%22');

/** multipart/form-data of a form: `{ bytes, boundary }`. */
const serialize = (form) => {
  const pairs = pairsOf(form);
  const random = ops.random(16);
  let boundary = '';
  for (let i = 0; i < random.length; i++) boundary += p.NumberToString(random[i] + 256, 16);
  const chunks = [];
  let total = 0;
  const push = (chunk) => { p.ArrayPush(chunks, chunk); total += chunk.length; };
  for (let i = 0; i < pairs.length; i++) {
    const name = pairs[i][0], value = pairs[i][1];
    const bytes = bytesOf(value);
    let head = `--${boundary}\r\nContent-Disposition: form-data; name="${quote(name)}"`;
    if (bytes != null) head += `; filename="${quote(value.name)}"\r\nContent-Type: ${value.type || 'application/octet-stream'}`;
    push(ops.utf8Encode(`${head}\r\n\r\n`));
    push(bytes ?? ops.utf8Encode(value));
    push(ops.utf8Encode('\r\n'));
  }
  push(ops.utf8Encode(`--${boundary}--\r\n`));
  const all = new p.Uint8Array(total);
  for (let i = 0, at = 0; i < chunks.length; at += chunks[i].length, i++) p.TypedSet(all, chunks[i], at);
  return { bytes: all, boundary };
};

const parameter = (line, name) => {
  const found = p.RegExpExec(new p.RegExp(`;\\s*${name}\\s*=\\s*(?:"((?:[^"\\\\]|\\\\.)*)"|([^;\\s]*))`, 'i'), line);
  return found == null ? null : found[1] ?? found[2];
};

/** A form of bytes that came with the given content type. */
const parse = (bytes, contentType) => {
  const type = contentType == null ? '' : p.StringToLowerCase(p.StringTrim(p.StringSplit(contentType, ';')[0]));
  const form = new FormData();
  const pairs = pairsOf(form);
  if (type === 'application/x-www-form-urlencoded') {
    const flat = ops.formParse(ops.utf8Decode(bytes));
    for (let i = 0; i < flat.length; i += 2) p.ArrayPush(pairs, [flat[i], flat[i + 1]]);
    return form;
  }
  if (type !== 'multipart/form-data') throw new p.TypeError(`Unrecognized Content-Type header value. FormData can only parse the following MIME types: multipart/form-data, application/x-www-form-urlencoded`);
  const boundary = parameter(contentType, 'boundary');
  if (boundary == null || boundary === '') throw new p.TypeError('No boundary string in Content-Type header. The multipart/form-data MIME type requires a boundary parameter, e.g. \'Content-Type: multipart/form-data; boundary="abcd"\'. See RFC 7578, section 4.');
  // [from, to of the head, from, to of the content] of each part
  const parts = ops.multipart(bytes, boundary);
  if (parts == null) throw new p.TypeError('Non-multipart/form-data or malformed body.');
  for (let i = 0; i < parts.length; i += 4) {
    const head = ops.utf8Decode(p.TypedSlice(bytes, parts[i], parts[i + 1]));
    const lines = p.StringSplit(head, '\r\n');
    let disposition = null, partType = null;
    for (let j = 0; j < lines.length; j++) {
      const lower = p.StringToLowerCase(lines[j]);
      if (p.StringStartsWith(lower, 'content-disposition:')) disposition = lines[j];
      if (p.StringStartsWith(lower, 'content-type:')) partType = p.StringTrim(p.StringSlice(lines[j], 13));
    }
    const name = disposition == null ? null : parameter(disposition, 'name');
    if (name == null) throw new p.TypeError('No name in the Content-Disposition header of a part.');
    const filename = parameter(disposition, 'filename');
    const content = p.TypedSlice(bytes, parts[i + 2], parts[i + 3]);
    p.ArrayPush(pairs, [name, filename == null ? ops.utf8Decode(content) : makeFile(content, filename, partType ?? 'text/plain')]);
  }
  return form;
};
return { FormData, pairsOf, serialize, parse };
