// Readable streams of the WHATWG's standard; the names of its abstract operations are kept where they help to compare.
const { p } = core;
const { promiseResolve: resolved, promiseReject: rejected, withResolvers } = p;
const then = p.PromiseThen;
const typeError = (message) => new p.TypeError(message);
const secret = {};
const noop = () => {};

/** Calls a method of the user's, with what it throws as a rejection. */
const call = (method, self, args) => {
  try { return resolved(p.apply(method, self, args)); } catch (error) { return rejected(error); }
};
const method = (object, name) => {
  const found = object[name];
  if (found === undefined) return undefined;
  if (typeof found !== 'function') throw typeError(`${name} is no function`);
  return (...args) => call(found, object, args);
};
const highWaterMark = (strategy, fallback) => {
  const given = strategy?.highWaterMark;
  if (given === undefined) return fallback;
  const mark = p.Number(given);
  if (mark !== mark || mark < 0) throw new p.RangeError('the high water mark is no number from 0 up');
  return mark;
};
const sizeOf = (strategy) => {
  const size = strategy?.size;
  if (size === undefined) return () => 1;
  if (typeof size !== 'function') throw typeError('size is no function');
  return (chunk) => p.apply(size, undefined, [chunk]);
};
const usableSize = (size) => {
  size = p.Number(size);
  if (size !== size || size < 0 || size === Infinity) throw new p.RangeError('the size of a chunk is no number from 0 up');
  return size;
};

/** A queue of which the front can be taken cheaply. */
class Queue {
  #items = []; #head = 0;
  get length() { return this.#items.length - this.#head; }
  push(item) { p.ArrayPush(this.#items, item); }
  peek() { return this.#items[this.#head]; }
  shift() {
    const item = this.#items[this.#head];
    this.#items[this.#head++] = undefined;
    if (this.#head > 32 && this.#head * 2 > this.#items.length) { this.#items = p.ArraySlice(this.#items, this.#head); this.#head = 0; }
    return item;
  }
  clear() { this.#items = []; this.#head = 0; }
}

// Internals are plain objects behind a private field: `state(stream)` and so on.
let streamState, readerState, byobState, controllerOf, makeStream, makeReader, makeController, makeByteController, makeByobReader, byteOf;

const initReadable = () => ({ state: 'readable', error: undefined, reader: null, controller: null, disturbed: false, onclose: null });

// --- operations on streams ---
const close = (s) => {
  s.state = 'closed';
  const r = s.reader;
  if (r !== null) {
    r.closed.resolve(undefined);
    if (r.kind === 'default') {
      const requests = r.requests;
      r.requests = new Queue();
      while (requests.length > 0) requests.shift().close();
    }
  }
  if (s.onclose !== null) s.onclose();
};
const fail = (s, error) => {
  s.state = 'errored';
  s.error = error;
  const r = s.reader;
  if (r !== null) {
    r.closed.reject(error);
    core.handled(r.closed.promise);
    const requests = r.requests;
    r.requests = new Queue();
    while (requests.length > 0) requests.shift().error(error);
  }
  if (s.onclose !== null) s.onclose();
};
const cancel = (s, reason) => {
  s.disturbed = true;
  if (s.state === 'closed') return resolved(undefined);
  if (s.state === 'errored') return rejected(s.error);
  close(s);
  const r = s.reader;
  if (r !== null && r.kind === 'byob') {
    const requests = r.requests;
    r.requests = new Queue();
    while (requests.length > 0) requests.shift().close(undefined);
  }
  return then(s.controller.cancelSteps(reason), noop);
};
const acquire = (s, kind) => {
  if (s.reader !== null) throw typeError('This ReadableStream is currently locked to a reader.');
  if (kind === 'byob' && !s.controller.bytes) throw typeError('This ReadableStream does not support BYOB reads.');
  const r = { kind, stream: s, requests: new Queue(), closed: withResolvers() };
  if (s.state === 'closed') r.closed.resolve(undefined);
  else if (s.state === 'errored') { r.closed.reject(s.error); core.handled(r.closed.promise); }
  s.reader = r;
  return r;
};
const release = (r) => {
  const s = r.stream;
  if (s === null) return;
  const error = typeError('This ReadableStream reader has been released.');
  if (s.state !== 'readable') r.closed = withResolvers();
  r.closed.reject(error);
  core.handled(r.closed.promise);
  s.controller.releaseSteps();
  s.reader = null;
  r.stream = null;
  const requests = r.requests;
  r.requests = new Queue();
  while (requests.length > 0) requests.shift().error(error);
};
const read = (r, request) => {
  const s = r.stream;
  s.disturbed = true;
  if (s.state === 'closed') request.close();
  else if (s.state === 'errored') request.error(s.error);
  else s.controller.pullSteps(request);
};
/** One read as a promise of `{ value, done }`. */
const readPromise = (r) => {
  const { promise, resolve, reject } = withResolvers();
  read(r, {
    chunk: (value) => resolve({ value, done: false }),
    close: () => resolve({ value: undefined, done: true }),
    error: reject,
  });
  return promise;
};

// --- the default controller ---
const defaultController = (s, { start, pull, cancel: cancelWith }, mark, size) => {
  const c = {
    bytes: false, stream: s, queue: new Queue(), total: 0, closeRequested: false, started: false, pulling: false, pullAgain: false,
    pull, cancelWith, size, mark,
    desired: () => (s.state === 'errored' ? null : s.state === 'closed' ? 0 : c.mark - c.total),
    canClose: () => !c.closeRequested && s.state === 'readable',
    clear: () => { c.pull = c.cancelWith = c.size = undefined; },
    shouldPull: () => {
      if (!c.canClose() || !c.started) return false;
      if (s.reader !== null && s.reader.requests.length > 0) return true;
      return c.desired() > 0;
    },
    pullIfNeeded: () => {
      if (!c.shouldPull()) return;
      if (c.pulling) { c.pullAgain = true; return; }
      c.pulling = true;
      then(c.pull(), () => {
        c.pulling = false;
        if (c.pullAgain) { c.pullAgain = false; c.pullIfNeeded(); }
      }, c.error);
    },
    enqueue: (chunk) => {
      if (!c.canClose()) throw typeError('the stream can take no more chunks');
      if (s.reader !== null && s.reader.requests.length > 0) s.reader.requests.shift().chunk(chunk);
      else {
        let took;
        try { took = usableSize(c.size(chunk)); } catch (error) { c.error(error); throw error; }
        c.queue.push({ chunk, size: took });
        c.total += took;
      }
      c.pullIfNeeded();
    },
    close: () => {
      c.closeRequested = true;
      if (c.queue.length === 0) { c.clear(); close(s); }
    },
    error: (error) => {
      if (s.state !== 'readable') return;
      c.queue.clear();
      c.total = 0;
      c.clear();
      fail(s, error);
    },
    cancelSteps: (reason) => {
      c.queue.clear();
      c.total = 0;
      const done = c.cancelWith(reason);
      c.clear();
      return done;
    },
    pullSteps: (request) => {
      if (c.queue.length === 0) { s.reader.requests.push(request); c.pullIfNeeded(); return; }
      const { chunk, size: took } = c.queue.shift();
      c.total = c.queue.length === 0 ? 0 : c.total - took;
      if (c.closeRequested && c.queue.length === 0) { c.clear(); close(s); } else c.pullIfNeeded();
      request.chunk(chunk);
    },
    releaseSteps: noop,
  };
  s.controller = c;
  then(resolved(start()), () => { c.started = true; c.pullIfNeeded(); }, c.error);
  return c;
};

// --- the byte controller ---
const byteController = (s, { start, pull, cancel: cancelWith }, mark, autoAllocate) => {
  // A pull-into: the memory a read waits to have filled. `kind` is that of the reader it is for, or 'none' when it has gone.
  const c = {
    bytes: true, stream: s, queue: new Queue(), total: 0, closeRequested: false, started: false, pulling: false, pullAgain: false,
    pull, cancelWith, mark, autoAllocate, pending: new Queue(), request: null,
    desired: () => (s.state === 'errored' ? null : s.state === 'closed' ? 0 : c.mark - c.total),
    canClose: () => !c.closeRequested && s.state === 'readable',
    clear: () => { c.pull = c.cancelWith = undefined; },
    dropRequest: () => {
      if (c.request === null) return;
      byobState(c.request).controller = null;
      byobState(c.request).view = null;
      c.request = null;
    },
    shouldPull: () => {
      if (s.state !== 'readable' || c.closeRequested || !c.started) return false;
      if (s.reader !== null && s.reader.requests.length > 0) return true;
      return c.desired() > 0;
    },
    pullIfNeeded: () => {
      if (!c.shouldPull()) return;
      if (c.pulling) { c.pullAgain = true; return; }
      c.pulling = true;
      then(c.pull(), () => {
        c.pulling = false;
        if (c.pullAgain) { c.pullAgain = false; c.pullIfNeeded(); }
      }, c.error);
    },
    error: (error) => {
      if (s.state !== 'readable') return;
      c.dropRequest();
      c.pending.clear();
      c.queue.clear();
      c.total = 0;
      c.clear();
      fail(s, error);
    },
    enqueueBytes: (bytes) => { c.queue.push({ bytes }); c.total += bytes.length; },
    drain: () => {
      if (c.total === 0 && c.closeRequested) { c.clear(); close(s); } else c.pullIfNeeded();
    },
    /** Fills a pull-into from the queue; true when it has enough. */
    fill: (into) => {
      let most = p.min(c.total, into.length - into.filled);
      let ready = false;
      const full = into.filled + most;
      const aligned = full - (full % into.width);
      if (aligned >= into.minimum) { most = aligned - into.filled; ready = true; }
      const target = new p.Uint8Array(into.buffer, into.offset, into.length);
      while (most > 0) {
        const front = c.queue.peek();
        const count = p.min(most, front.bytes.length);
        p.TypedSet(target, p.TypedSubarray(front.bytes, 0, count), into.filled);
        if (count === front.bytes.length) c.queue.shift();
        else front.bytes = p.TypedSubarray(front.bytes, count);
        c.total -= count;
        into.filled += count;
        most -= count;
      }
      return ready;
    },
    viewOf: (into) => new into.View(into.buffer, into.offset, into.filled / into.width),
    commit: (into) => {
      const ended = s.state === 'closed';
      const view = c.viewOf(into);
      const request = s.reader.requests.shift();
      if (ended) request.close(into.kind === 'byob' ? view : undefined);
      else request.chunk(view);
    },
    fillPending: () => {
      const done = [];
      while (c.pending.length > 0 && c.total > 0) {
        const into = c.pending.peek();
        if (!c.fill(into)) break;
        c.pending.shift();
        p.ArrayPush(done, into);
      }
      return done;
    },
    serveDefault: () => {
      while (s.reader.requests.length > 0 && c.total > 0) {
        const { bytes } = c.queue.shift();
        c.total -= bytes.length;
        s.reader.requests.shift().chunk(bytes);
      }
    },
    enqueue: (view) => {
      if (!c.canClose()) throw typeError('the stream can take no more chunks');
      if (p.bufferDetached(view.buffer)) throw typeError('the chunk\'s buffer is detached');
      const offset = view.byteOffset, length = view.byteLength;
      const bytes = new p.Uint8Array(p.BufferTransfer(view.buffer), offset, length);
      if (c.pending.length > 0) {
        const first = c.pending.peek();
        if (p.bufferDetached(first.buffer)) throw typeError('the buffer to fill is detached');
        c.dropRequest();
        first.buffer = p.BufferTransfer(first.buffer);
        if (first.kind === 'none') c.keepFilled();
      }
      const r = s.reader;
      if (r !== null && r.kind === 'default') {
        c.serveDefault();
        if (r.requests.length === 0) c.enqueueBytes(bytes);
        else {
          if (c.pending.length > 0) c.pending.shift();
          r.requests.shift().chunk(bytes);
        }
      } else if (r !== null && r.kind === 'byob') {
        c.enqueueBytes(bytes);
        const done = c.fillPending();
        for (let i = 0; i < done.length; i++) c.commit(done[i]);
      } else c.enqueueBytes(bytes);
      c.pullIfNeeded();
    },
    /** What a reader that was released had filled already is kept for the next. */
    keepFilled: () => {
      const into = c.pending.shift();
      if (into.filled > 0) c.enqueueBytes(p.TypedSlice(new p.Uint8Array(into.buffer, into.offset, into.filled)));
    },
    close: () => {
      if (c.total > 0) { c.closeRequested = true; return; }
      if (c.pending.length > 0 && c.pending.peek().filled % c.pending.peek().width !== 0) {
        const error = typeError('the last element of the view is not whole');
        c.error(error);
        throw error;
      }
      c.closeRequested = true;
      c.clear();
      close(s);
      // A BYOB read that waits has its memory back once the source has answered, or at once if it need not be asked.
      if (c.pending.length > 0 && c.request === null && s.reader !== null && s.reader.kind === 'byob') {
        while (c.pending.length > 0) c.commit(c.pending.shift());
      }
    },
    cancelSteps: (reason) => {
      c.dropRequest();
      c.pending.clear();
      c.queue.clear();
      c.total = 0;
      const done = c.cancelWith(reason);
      c.clear();
      return done;
    },
    pullSteps: (request) => {
      if (c.total > 0) {
        const { bytes } = c.queue.shift();
        c.total -= bytes.length;
        c.drain();
        request.chunk(bytes);
        return;
      }
      if (c.autoAllocate !== undefined) {
        let buffer;
        try { buffer = new p.ArrayBuffer(c.autoAllocate); } catch (error) { request.error(error); return; }
        c.pending.push({ buffer, offset: 0, length: c.autoAllocate, filled: 0, minimum: 1, width: 1, View: p.Uint8Array, kind: 'default' });
      }
      s.reader.requests.push(request);
      c.pullIfNeeded();
    },
    pullInto: (view, minimum, request) => {
      const tag = p.typedTag(view);
      const View = tag === undefined ? p.DataView : core.views[tag];
      const width = View.BYTES_PER_ELEMENT ?? 1;
      const bytes = core.viewOf(view);
      const offset = bytes.byteOffset, length = bytes.byteLength;
      let buffer;
      try { buffer = p.BufferTransfer(bytes.buffer); } catch (error) { request.error(error); return; }
      const into = { buffer, offset, length, filled: 0, minimum: minimum * width, width, View, kind: 'byob' };
      if (c.pending.length > 0) { c.pending.push(into); s.reader.requests.push(request); return; }
      if (s.state === 'closed') { request.close(new View(buffer, offset, 0)); return; }
      if (c.total > 0) {
        if (c.fill(into)) { const filled = c.viewOf(into); c.drain(); request.chunk(filled); return; }
        if (c.closeRequested) {
          const error = typeError('the stream ended before the view was filled');
          c.error(error);
          request.error(error);
          return;
        }
      }
      c.pending.push(into);
      s.reader.requests.push(request);
      c.pullIfNeeded();
    },
    respond: (written) => {
      const first = c.pending.peek();
      if (s.state === 'closed') {
        if (written !== 0) throw typeError('the stream is closed: nothing can be written');
      } else {
        if (written === 0) throw typeError('respond with 0 bytes while the stream is open');
        if (first.filled + written > first.length) throw new p.RangeError('more bytes than the view holds');
      }
      first.buffer = p.BufferTransfer(first.buffer);
      c.answered(written);
    },
    respondWithView: (view) => {
      const bytes = core.viewOf(view);
      const first = c.pending.peek();
      if (s.state === 'closed') { if (bytes.length !== 0) throw typeError('the stream is closed: the view must be empty'); }
      else if (bytes.length === 0) throw typeError('the view is empty while the stream is open');
      if (first.offset + first.filled !== bytes.byteOffset) throw new p.RangeError('the view begins elsewhere');
      if (first.buffer.byteLength !== bytes.buffer.byteLength) throw new p.RangeError('the view has another buffer');
      if (first.filled + bytes.length > first.length) throw new p.RangeError('more bytes than the view holds');
      const written = bytes.length;
      first.buffer = p.BufferTransfer(bytes.buffer);
      c.answered(written);
    },
    answered: (written) => {
      c.dropRequest();
      if (s.state === 'closed') {
        if (c.pending.peek().kind === 'none') c.pending.shift();
        while (s.reader !== null && s.reader.kind === 'byob' && s.reader.requests.length > 0 && c.pending.length > 0) c.commit(c.pending.shift());
      } else {
        const first = c.pending.peek();
        first.filled += written;
        if (first.kind === 'none') {
          c.keepFilled();
          const done = c.fillPending();
          for (let i = 0; i < done.length; i++) c.commit(done[i]);
        } else if (first.filled >= first.minimum) {
          c.pending.shift();
          const spare = first.filled % first.width;
          if (spare > 0) {
            const end = first.offset + first.filled;
            c.enqueueBytes(p.TypedSlice(new p.Uint8Array(first.buffer, end - spare, spare)));
            first.filled -= spare;
          }
          const done = c.fillPending();
          c.commit(first);
          for (let i = 0; i < done.length; i++) c.commit(done[i]);
        }
      }
      c.pullIfNeeded();
    },
    releaseSteps: () => {
      if (c.pending.length === 0) return;
      const first = c.pending.peek();
      first.kind = 'none';
      c.pending.clear();
      c.pending.push(first);
    },
  };
  s.controller = c;
  then(resolved(start()), () => { c.started = true; c.pullIfNeeded(); }, c.error);
  return c;
};

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
  static { byobState = (request) => request.#state; }
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
      c.request = new ReadableStreamBYOBRequest(secret, { controller: c, view });
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
