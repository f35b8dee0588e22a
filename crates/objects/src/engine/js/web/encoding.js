const { p } = core;
const bytesOf = (input) => {
  if (input === undefined) return new p.Uint8Array(0);
  const view = core.viewOf(input);
  if (view == null) throw new p.TypeError('the input is neither an ArrayBuffer nor a view of one');
  return view;
};

class TextEncoder {
  #brand = true;
  get encoding() { this.#brand; return 'utf-8'; }
  encode(input = '') { this.#brand; return ops.utf8Encode(core.usv(input)); }
  encodeInto(source, destination) {
    this.#brand;
    source = `${source}`;
    if (p.typedTag(destination) !== 'Uint8Array') throw new p.TypeError('the destination is no Uint8Array');
    const room = p.typedLength(destination);
    // A code unit takes one byte at least, so no more of them than bytes can fit.
    const bytes = ops.utf8Encode(p.StringToWellFormed(p.StringSlice(source, 0, room + 1)));
    let written = p.min(bytes.length, room);
    while (written > 0 && written < bytes.length && (bytes[written] & 0xc0) === 0x80) written--;
    p.TypedSet(destination, p.TypedSubarray(bytes, 0, written));
    let read = 0;
    for (let i = 0; i < written; i++) read += (bytes[i] & 0xc0) === 0x80 ? 0 : bytes[i] >= 0xf0 ? 2 : 1;
    return { read, written };
  }
}
core.brand(TextEncoder, 'TextEncoder');

class TextDecoder {
  #encoding; #fatal; #ignoreBom; #state = null;
  constructor(label = 'utf-8', options = undefined) {
    const found = ops.encodingFor(core.usv(label));
    if (found == null) throw new p.RangeError(`"${label}" is not a valid encoding.`);
    this.#encoding = found;
    this.#fatal = !!options?.fatal;
    this.#ignoreBom = !!options?.ignoreBOM;
  }
  get encoding() { return this.#encoding; }
  get fatal() { return this.#fatal; }
  get ignoreBOM() { return this.#ignoreBom; }
  decode(input = undefined, options = undefined) {
    const bytes = bytesOf(input);
    const stream = !!options?.stream;
    if (this.#state == null && !stream) {
      const text = ops.decodeOnce(this.#encoding, this.#fatal, this.#ignoreBom, bytes);
      if (text == null) throw new p.TypeError('Failed to decode input.');
      return text;
    }
    this.#state ??= ops.decoder(this.#encoding, this.#fatal, this.#ignoreBom);
    const step = this.#state; const text = step(bytes, !stream);
    if (!stream || text == null) this.#state = null;
    if (text == null) throw new p.TypeError('Failed to decode input.');
    return text;
  }
}
core.brand(TextDecoder, 'TextDecoder');

const { atob } = { atob(data) {
  if (arguments.length === 0) throw new p.TypeError('atob needs an argument');
  const text = ops.atob(core.usv(data));
  if (text == null) throw new p.DOMException('atob() called with invalid base64-encoded data. (Only whitespace, \'+\', \'/\', alphanumeric ASCII, and up to two terminal \'=\' signs when the input data length is divisible by 4 are allowed.)', 'InvalidCharacterError');
  return text;
} };
const { btoa } = { btoa(data) {
  if (arguments.length === 0) throw new p.TypeError('btoa needs an argument');
  const text = ops.btoa(core.usv(data));
  if (text == null) throw new p.DOMException('btoa() can only operate on characters in the Latin1 (ISO/IEC 8859-1) range.', 'InvalidCharacterError');
  return text;
} };
return { TextEncoder, TextDecoder, atob, btoa };
