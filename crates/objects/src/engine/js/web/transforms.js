const { p } = core;
const { makeTransform } = core.load('writable');
const typeError = (message) => new p.TypeError(message);
const bytesOf = (chunk) => {
  const view = core.viewOf(chunk);
  if (view == null) throw typeError('This TransformStream is being used as a byte stream, but received an object of non-ArrayBuffer/ArrayBufferView type on its writable side.');
  return view;
};
/** The public face of a transform of ours: only `readable` and `writable`. */
const face = (name, build) => {
  const C = { [name]: class {
    #made;
    constructor(...args) { this.#made = build(...args); }
    get readable() { return this.#made.readable; }
    get writable() { return this.#made.writable; }
  } }[name];
  return core.brand(C, name);
};

const TextEncoderStream = (() => {
  class TextEncoderStream {
    #made;
    constructor() {
      let high = '';
      this.#made = makeTransform({
        transform(chunk, enqueue) {
          let text = high + `${chunk}`;
          high = '';
          if (text === '') return;
          const last = p.StringCharCodeAt(text, text.length - 1);
          if (last >= 0xd800 && last <= 0xdbff) { high = text[text.length - 1]; text = p.StringSlice(text, 0, -1); }
          if (text !== '') enqueue(ops.utf8Encode(p.StringToWellFormed(text)));
        },
        flush(enqueue) { if (high !== '') enqueue(ops.utf8Encode('\ufffd')); },
      });
    }
    get encoding() { this.#made; return 'utf-8'; }
    get readable() { return this.#made.readable; }
    get writable() { return this.#made.writable; }
  }
  return core.brand(TextEncoderStream, 'TextEncoderStream');
})();

const TextDecoderStream = (() => {
  class TextDecoderStream {
    #decoder; #made;
    constructor(label = 'utf-8', options = undefined) {
      const { TextDecoder } = core.load('encoding');
      const decoder = this.#decoder = new TextDecoder(label, options);
      const step = ops.decoder(decoder.encoding, decoder.fatal, decoder.ignoreBOM);
      const decode = (bytes, last) => {
        const text = step(bytes, last);
        if (text == null) throw typeError('Failed to decode input.');
        return text;
      };
      this.#made = makeTransform({
        transform(chunk, enqueue) { const text = decode(bytesOf(chunk), false); if (text !== '') enqueue(text); },
        flush(enqueue) { const text = decode(new p.Uint8Array(0), true); if (text !== '') enqueue(text); },
      });
    }
    get encoding() { return this.#decoder.encoding; }
    get fatal() { return this.#decoder.fatal; }
    get ignoreBOM() { return this.#decoder.ignoreBOM; }
    get readable() { return this.#made.readable; }
    get writable() { return this.#made.writable; }
  }
  return core.brand(TextDecoderStream, 'TextDecoderStream');
})();

const coding = (name, operation, broken) => face(name, (format) => {
  const step = operation(core.usv(format));
  if (step == null) throw typeError(`The compression format must be either 'deflate', 'deflate-raw' or 'gzip'.`);
  const run = (bytes, last, enqueue) => {
    const out = step(bytes, last);
    if (out == null) throw typeError(broken);
    if (out.length > 0) enqueue(out);
  };
  return makeTransform({
    bytes: true,
    transform: (chunk, enqueue) => run(bytesOf(chunk), false, enqueue),
    flush: (enqueue) => run(new p.Uint8Array(0), true, enqueue),
  });
});
const CompressionStream = coding('CompressionStream', ops.compressor, 'the data cannot be compressed');
const DecompressionStream = coding('DecompressionStream', ops.decompressor, 'Decompression failed.');

/** The length that a readable side will have, where it is known: Response's content-length. */
const lengths = new p.WeakMap();
const identity = (length) => {
  let left = length;
  const made = makeTransform({
    bytes: true,
    transform(chunk, enqueue) {
      const bytes = typeof chunk === 'string' ? ops.utf8Encode(core.usv(chunk)) : bytesOf(chunk);
      if (left != null) {
        if (bytes.length > left) throw typeError('Attempt to write too many bytes through a FixedLengthStream.');
        left -= bytes.length;
      }
      if (bytes.length > 0) enqueue(p.TypedSlice(bytes));
    },
    flush() { if (left != null && left > 0) throw typeError('FixedLengthStream did not see all expected bytes before close().'); },
  });
  if (length != null) p.WeakMapSet(lengths, made.readable, length);
  return made;
};
const IdentityTransformStream = face('IdentityTransformStream', () => identity(null));
const FixedLengthStream = (() => {
  class FixedLengthStream extends IdentityTransformStream {
    #made;
    constructor(length) {
      super();
      const count = typeof length === 'bigint' ? p.Number(length) : p.Number(length);
      if (!(count >= 0 && count <= 9007199254740991)) throw typeError('the length is no number from 0 up');
      this.#made = identity(p.floor(count));
    }
    get readable() { return this.#made.readable; }
    get writable() { return this.#made.writable; }
  }
  return core.brand(FixedLengthStream, 'FixedLengthStream');
})();

return {
  TextEncoderStream, TextDecoderStream, CompressionStream, DecompressionStream, IdentityTransformStream, FixedLengthStream,
  lengthOf: (stream) => p.WeakMapGet(lengths, stream) ?? null,
};
