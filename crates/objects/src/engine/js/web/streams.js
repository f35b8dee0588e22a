// Readable streams of the WHATWG's standard, as code sees them.
const { p } = core;
const { promiseResolve: resolved, promiseReject: rejected, withResolvers } = p;
const then = p.PromiseThen;
const typeError = (message) => new p.TypeError(message);
const secret = {};
const noop = () => {};
const { Queue, call, method, highWaterMark, sizeOf, initReadable, cancel, acquire, release, read, readPromise, defaultController, usableSize } = core.load('readable');
const { byteController } = core.load('readable_bytes');
// The internals of what code holds, and what code holds of internals.
let streamState, readerState, controllerOf, makeStream, makeReader, makeController, makeByteController, makeByobReader, byteOf;

// --- tee ---
const tee = (s) => {
  const bytes = s.controller.bytes;
  const r = acquire(s, 'default');
  let reading = false, again = false;
  const canceled = [false, false], reasons = [undefined, undefined], branches = [];
  const done = withResolvers();
  const pull = () => {
    if (reading) { again = true; return resolved(undefined); }
    reading = true;
    read(r, {
      chunk: (chunk) => p.queueMicrotask(() => {
        again = false;
        for (let i = 0; i < 2; i++) {
          if (canceled[i]) continue;
          // Each branch of a stream of bytes has memory of its own: enqueue takes the buffer away.
          branches[i].controller.enqueue(bytes ? p.TypedSlice(core.viewOf(chunk)) : chunk);
        }
        reading = false;
        if (again) pull();
      }),
      close: () => {
        reading = false;
        for (let i = 0; i < 2; i++) if (!canceled[i]) branches[i].controller.close();
        for (let i = 0; i < 2; i++) if (bytes && branches[i].controller.pending.length > 0 && branches[i].state === 'closed') branches[i].controller.answered(0);
        if (!canceled[0] || !canceled[1]) done.resolve(undefined);
      },
      error: () => { reading = false; },
    });
    return resolved(undefined);
  };
  const cancelBranch = (i) => (reason) => {
    canceled[i] = true;
    reasons[i] = reason;
    if (canceled[1 - i]) done.resolve(cancel(s, [reasons[0], reasons[1]]));
    return done.promise;
  };
  for (let i = 0; i < 2; i++) {
    const branch = initReadable();
    const source = { start: noop, pull, cancel: cancelBranch(i) };
    if (bytes) byteController(branch, source, 0, undefined);
    else defaultController(branch, source, 1, () => 1);
    branches[i] = branch;
  }
  then(r.closed.promise, undefined, (error) => {
    branches[0].controller.error(error);
    branches[1].controller.error(error);
    if (!canceled[0] || !canceled[1]) done.resolve(undefined);
  });
  return branches;
};

// --- public classes ---
const source = (given, controller) => {
  const startWith = given.start;
  const pullWith = method(given, 'pull'), cancelWith = method(given, 'cancel');
  if (startWith !== undefined && typeof startWith !== 'function') throw typeError('start is no function');
  return {
    start: () => (startWith === undefined ? undefined : p.apply(startWith, given, [controller])),
    pull: pullWith === undefined ? () => resolved(undefined) : () => pullWith(controller),
    cancel: cancelWith === undefined ? () => resolved(undefined) : (reason) => cancelWith(reason),
  };
};

class ReadableStream {
  #s;
  constructor(underlying = undefined, strategy = undefined) {
    if (underlying === secret) { this.#s = strategy; return; }
    if (underlying === undefined) underlying = {};
    if (underlying === null || (typeof underlying !== 'object' && typeof underlying !== 'function')) throw typeError('the source is no object');
    const s = this.#s = initReadable();
    const type = underlying.type === undefined ? undefined : `${underlying.type}`;
    if (type !== undefined && type !== 'bytes' && type !== '') throw typeError(`"${type}" is no type of stream`);
    if (type === 'bytes') {
      if (strategy?.size !== undefined) throw new p.RangeError('a stream of bytes takes no size');
      const mark = highWaterMark(strategy, 0);
      let allocate = underlying.autoAllocateChunkSize;
      if (allocate !== undefined) {
        allocate = p.Number(allocate);
        if (!(allocate > 0 && allocate <= 9007199254740991)) throw typeError('autoAllocateChunkSize is no number from 1 up');
      }
      const face = makeByteController();
      const given = source(underlying, face);
      byteController(s, { ...given, start: () => { byteOf(face, s.controller); return given.start(); } }, mark, allocate);
    } else {
      const size = sizeOf(strategy), mark = highWaterMark(strategy, 1);
      const face = makeController();
      const given = source(underlying, face);
      defaultController(s, { ...given, start: () => { controllerOf(face, s.controller); return given.start(); } }, mark, size);
    }
  }
  static from(iterable) {
    const get = iterable?.[p.asyncIterator] ?? iterable?.[p.iterator];
    if (typeof get !== 'function') throw typeError('the value is not iterable');
    const iterator = p.apply(get, iterable, []);
    const s = initReadable();
    defaultController(s, {
      start: noop,
      pull: () => {
        let next;
        try { next = resolved(iterator.next()); } catch (error) { return rejected(error); }
        return then(next, (result) => {
          if (typeof result !== 'object' || result === null) throw typeError('the iterator gave no object');
          if (result.done) { s.controller.close(); return undefined; }
          return then(resolved(result.value), (value) => { s.controller.enqueue(value); });
        });
      },
      cancel: (reason) => {
        const give = iterator.return;
        return give === undefined ? resolved(undefined) : call(give, iterator, [reason]);
      },
    }, 0, () => 1);
    return new ReadableStream(secret, s);
  }
  get locked() { return this.#s.reader !== null; }
  cancel(reason = undefined) {
    let s;
    try { s = this.#s; } catch (error) { return rejected(error); }
    if (s.reader !== null) return rejected(typeError('This ReadableStream is currently locked to a reader.'));
    return cancel(s, reason);
  }
  getReader(options = undefined) {
    const mode = options?.mode;
    if (mode === undefined) return makeReader(acquire(this.#s, 'default'));
    if (`${mode}` !== 'byob') throw typeError(`"${mode}" is no mode of a reader`);
    return makeByobReader(acquire(this.#s, 'byob'));
  }
  tee() {
    const branches = tee(this.#s);
    return [new ReadableStream(secret, branches[0]), new ReadableStream(secret, branches[1])];
  }
  pipeTo(destination, options = undefined) {
    let s, given;
    try { s = this.#s; given = core.load('writable').pipeOptions(options); } catch (error) { return rejected(error); }
    const w = core.load('writable').writableState(destination);
    if (w === null) return rejected(typeError('the destination is no WritableStream'));
    if (s.reader !== null) return rejected(typeError('This ReadableStream is currently locked to a reader.'));
    if (w.writer !== null) return rejected(typeError('This WritableStream is currently locked to a writer.'));
    return core.load('writable').pipe(s, w, given);
  }
  pipeThrough(transform, options = undefined) {
    const s = this.#s;
    const { readable, writable } = transform;
    const { pipeOptions, writableState, pipe } = core.load('writable');
    const w = writableState(writable);
    if (streamState(readable) === null || w === null) throw typeError('the transform has no readable and writable streams');
    const given = pipeOptions(options);
    if (s.reader !== null) throw typeError('This ReadableStream is currently locked to a reader.');
    if (w.writer !== null) throw typeError('This WritableStream is currently locked to a writer.');
    core.handled(pipe(s, w, given));
    return readable;
  }
  values(options = undefined) {
    const r = acquire(this.#s, 'default');
    return iterate(r, !!options?.preventCancel);
  }
  static {
    streamState = (value) => (typeof value === 'object' && value !== null && #s in value ? value.#s : null);
    makeStream = (s) => new ReadableStream(secret, s);
  }
}
core.brand(ReadableStream, 'ReadableStream');
p.defineProperty(ReadableStream.prototype, p.asyncIterator, { __proto__: null, value: ReadableStream.prototype.values, writable: true, configurable: true });

const iterators = new p.WeakMap();
const iteratorProto = { __proto__: p.AsyncIteratorProto };
const iterate = (r, preventCancel) => {
  const iterator = { __proto__: iteratorProto };
  p.WeakMapSet(iterators, iterator, { r, preventCancel, ongoing: null, ended: false });
  return iterator;
};
const nextStep = (it) => {
  if (it.ended) return resolved({ value: undefined, done: true });
  return then(readPromise(it.r), (result) => {
    if (result.done) { it.ended = true; release(it.r); }
    return result;
  }, (error) => { it.ended = true; release(it.r); throw error; });
};
const methods = {
  next() {
    const it = p.WeakMapGet(iterators, this);
    if (it === undefined) return rejected(typeError('Illegal invocation'));
    it.ongoing = it.ongoing === null ? nextStep(it) : then(it.ongoing, () => nextStep(it), () => nextStep(it));
    return it.ongoing;
  },
  return(value = undefined) {
    const it = p.WeakMapGet(iterators, this);
    if (it === undefined) return rejected(typeError('Illegal invocation'));
    const step = () => {
      if (it.ended) return resolved({ value, done: true });
      it.ended = true;
      if (it.preventCancel) { release(it.r); return resolved({ value, done: true }); }
      const done = cancel(it.r.stream, value);
      release(it.r);
      return then(done, () => ({ value, done: true }));
    };
    it.ongoing = it.ongoing === null ? step() : then(it.ongoing, step, step);
    return it.ongoing;
  },
};
for (const name of ['next', 'return']) p.defineProperty(iteratorProto, name, { __proto__: null, value: methods[name], writable: true, enumerable: true, configurable: true });
p.defineProperty(iteratorProto, p.Symbol.toStringTag, { __proto__: null, value: 'ReadableStream AsyncIterator', configurable: true });

class ReadableStreamDefaultReader {
  #r;
  constructor(stream, made = undefined) {
    if (stream === secret) { this.#r = made; return; }
    const s = streamState(stream);
    if (s === null) throw typeError('the stream is no ReadableStream');
    this.#r = acquire(s, 'default');
  }
  get closed() { try { return this.#r.closed.promise; } catch (error) { return rejected(error); } }
  cancel(reason = undefined) {
    let r;
    try { r = this.#r; } catch (error) { return rejected(error); }
    if (r.stream === null) return rejected(typeError('This ReadableStream reader has been released.'));
    return cancel(r.stream, reason);
  }
  read() {
    let r;
    try { r = this.#r; } catch (error) { return rejected(error); }
    if (r.stream === null) return rejected(typeError('This ReadableStream reader has been released.'));
    return readPromise(r);
  }
  releaseLock() { release(this.#r); }
  static { readerState = (value) => (typeof value === 'object' && value !== null && #r in value ? value.#r : null); makeReader = (r) => new ReadableStreamDefaultReader(secret, r); }
}
core.brand(ReadableStreamDefaultReader, 'ReadableStreamDefaultReader');

class ReadableStreamBYOBReader {
  #r;
  constructor(stream, made = undefined) {
    if (stream === secret) { this.#r = made; return; }
    const s = streamState(stream);
    if (s === null) throw typeError('the stream is no ReadableStream');
    this.#r = acquire(s, 'byob');
  }
  get closed() { try { return this.#r.closed.promise; } catch (error) { return rejected(error); } }
  cancel(reason = undefined) {
    let r;
    try { r = this.#r; } catch (error) { return rejected(error); }
    if (r.stream === null) return rejected(typeError('This ReadableStream reader has been released.'));
    return cancel(r.stream, reason);
  }
  read(view, options = undefined) {
    let r, minimum;
    try {
      r = this.#r;
      if (!p.isView(view)) throw typeError('the view is no ArrayBufferView');
      const bytes = core.viewOf(view);
      if (p.bufferDetached(bytes.buffer)) throw typeError('the buffer of the view is detached');
      if (bytes.length === 0) throw typeError('You must call read() on a "byob" reader with a positive-sized TypedArray object.');
      minimum = options?.min === undefined ? 1 : p.Number(options.min);
      if (!(minimum >= 1)) throw typeError('min must be from 1 up');
      const room = p.typedTag(view) === undefined ? bytes.length : p.typedLength(view);
      if (minimum > room) throw new p.RangeError('min is more than the view holds');
    } catch (error) { return rejected(error); }
    if (r.stream === null) return rejected(typeError('This ReadableStream reader has been released.'));
    const { promise, resolve, reject } = withResolvers();
    const request = {
      chunk: (value) => resolve({ value, done: false }),
      close: (value) => resolve({ value, done: true }),
      error: reject,
    };
    const s = r.stream;
    s.disturbed = true;
    if (s.state === 'errored') request.error(s.error);
    else s.controller.pullInto(view, minimum, request);
    return promise;
  }
  readAtLeast(minimum, view) { return this.read(view, { min: minimum }); }
  releaseLock() { release(this.#r); }
  static { makeByobReader = (r) => new ReadableStreamBYOBReader(secret, r); }
}
core.brand(ReadableStreamBYOBReader, 'ReadableStreamBYOBReader');

class ReadableStreamDefaultController {
  #c = null;
  constructor(given) { if (given !== secret) throw core.illegal(); }
  get desiredSize() { return this.#c.desired(); }
  close() {
    if (!this.#c.canClose()) throw typeError('the stream is closed already');
    this.#c.close();
  }
  enqueue(chunk = undefined) { this.#c.enqueue(chunk); }
  error(reason = undefined) { this.#c.error(reason); }
  static { makeController = () => new ReadableStreamDefaultController(secret); controllerOf = (face, c) => { face.#c = c; }; }
}
core.brand(ReadableStreamDefaultController, 'ReadableStreamDefaultController');

class ReadableStreamBYOBRequest {
  #state;
  constructor(given, state) { if (given !== secret) throw core.illegal(); this.#state = state; }
  get view() { return this.#state.view; }
  respond(written) {
    const { controller, view } = this.#state;
    if (controller === null) throw typeError('This BYOB request has been answered already');
    written = p.Number(written);
    if (!(written >= 0)) throw typeError('the count of bytes is no number from 0 up');
    if (p.bufferDetached(view.buffer)) throw typeError('the buffer of the request is detached');
    controller.respond(written);
  }
  respondWithNewView(view) {
    const { controller } = this.#state;
    if (!p.isView(view)) throw typeError('the view is no ArrayBufferView');
    if (controller === null) throw typeError('This BYOB request has been answered already');
    if (p.bufferDetached(core.viewOf(view).buffer)) throw typeError('the buffer of the view is detached');
    controller.respondWithView(view);
  }
}
core.brand(ReadableStreamBYOBRequest, 'ReadableStreamBYOBRequest');

class ReadableByteStreamController {
  #c = null;
  constructor(given) { if (given !== secret) throw core.illegal(); }
  get byobRequest() {
    const c = this.#c;
    if (c.request === null && c.pending.length > 0) {
      const first = c.pending.peek();
      const view = new p.Uint8Array(first.buffer, first.offset + first.filled, first.length - first.filled);
      c.asked = { controller: c, view };
      c.request = new ReadableStreamBYOBRequest(secret, c.asked);
    }
    return c.request;
  }
  get desiredSize() { return this.#c.desired(); }
  close() {
    if (!this.#c.canClose()) throw typeError('the stream is closed already');
    this.#c.close();
  }
  enqueue(chunk) {
    if (!p.isView(chunk)) throw typeError('a stream of bytes takes views only');
    const view = core.viewOf(chunk);
    if (view.length === 0) throw typeError('the chunk is empty');
    this.#c.enqueue(view);
  }
  error(reason = undefined) { this.#c.error(reason); }
  static { makeByteController = () => new ReadableByteStreamController(secret); byteOf = (face, c) => { face.#c = c; }; }
}
core.brand(ReadableByteStreamController, 'ReadableByteStreamController');

const { byteSize } = { byteSize: function size(chunk) { return chunk.byteLength; } };
const { countSize } = { countSize: function size() { return 1; } };
class ByteLengthQueuingStrategy {
  #mark;
  constructor(init) { if (typeof init !== 'object' || init === null || init.highWaterMark === undefined) throw typeError('highWaterMark is needed'); this.#mark = p.Number(init.highWaterMark); }
  get highWaterMark() { return this.#mark; }
  get size() { this.#mark; return byteSize; }
}
core.brand(ByteLengthQueuingStrategy, 'ByteLengthQueuingStrategy');
class CountQueuingStrategy {
  #mark;
  constructor(init) { if (typeof init !== 'object' || init === null || init.highWaterMark === undefined) throw typeError('highWaterMark is needed'); this.#mark = p.Number(init.highWaterMark); }
  get highWaterMark() { return this.#mark; }
  get size() { this.#mark; return countSize; }
}
core.brand(CountQueuingStrategy, 'CountQueuingStrategy');

/** A stream of bytes that holds `bytes` already. */
const fromBytes = (bytes) => {
  const s = initReadable();
  byteController(s, { start: noop, pull: () => resolved(undefined), cancel: () => resolved(undefined) }, 0, undefined);
  if (bytes.length > 0) s.controller.enqueueBytes(bytes);
  s.controller.close();
  return makeStream(s);
};
/** A stream of ours: `pull(controller)` and `cancel(reason)` give promises or nothing. */
const make = ({ pull = noop, cancel: cancelWith = noop, bytes = false, mark = 0 }) => {
  const s = initReadable();
  const source = { start: noop, pull: () => call(pull, undefined, [s.controller]), cancel: (reason) => call(cancelWith, undefined, [reason]) };
  if (bytes) byteController(s, source, mark, undefined);
  else defaultController(s, source, mark, () => 1);
  return makeStream(s);
};
/** All of a stream's bytes as one Uint8Array. `stream` becomes locked and disturbed. */
const collect = (stream) => {
  const s = streamState(stream);
  const { promise, resolve, reject } = withResolvers();
  let r;
  try { r = acquire(s, 'default'); } catch (error) { return rejected(error); }
  const parts = [];
  let total = 0;
  const step = () => read(r, {
    chunk: (chunk) => {
      let view = typeof chunk === 'string' ? ops.utf8Encode(core.usv(chunk)) : core.viewOf(chunk);
      if (view === null) {
        const error = typeError('This TransformStream is being used as a byte stream, but received an object of non-ArrayBuffer/ArrayBufferView type on its writable side.');
        core.handled(cancel(s, error));
        reject(error);
        return;
      }
      p.ArrayPush(parts, view);
      total += view.length;
      p.queueMicrotask(step);
    },
    close: () => {
      const all = parts.length === 1 ? parts[0] : new p.Uint8Array(total);
      for (let i = 0, at = 0; parts.length > 1 && i < parts.length; at += parts[i].length, i++) p.TypedSet(all, parts[i], at);
      resolve(all);
    },
    error: reject,
  });
  step();
  return promise;
};

return {
  ReadableStream, ReadableStreamDefaultReader, ReadableStreamBYOBReader, ReadableStreamDefaultController, ReadableByteStreamController,
  ReadableStreamBYOBRequest, ByteLengthQueuingStrategy, CountQueuingStrategy,
  state: streamState, make, fromBytes, collect, acquire, release, read, cancel, tee: (stream) => { const two = tee(streamState(stream)); return [makeStream(two[0]), makeStream(two[1])]; },
  initReadable, defaultController, byteController, makeStream, highWaterMark, sizeOf, usableSize, method, call, Queue,
};
