// Writable streams, transforms and pipes of the WHATWG's standard.
const { p } = core;
const readable = core.load('streams');
const { signals } = core.load('events');
const { promiseResolve: resolved, promiseReject: rejected, withResolvers } = p;
const { highWaterMark, sizeOf, usableSize, method, call, Queue } = readable;
const { shouldPull } = core.load('readable');
const then = p.PromiseThen;
const typeError = (message) => new p.TypeError(message);
const secret = {};
const noop = () => {};
let writableState, makeWritable, writerState, makeWriter, makeController, tieController, makeTransformController, tieTransform;

const initWritable = () => ({
  state: 'writable', error: undefined, writer: null, controller: null, requests: new Queue(), inFlight: null, closing: null,
  closeInFlight: null, pendingAbort: null, backpressure: false, onerror: null,
});
const closeQueuedOrInFlight = (w) => w.closing !== null || w.closeInFlight !== null;

const rejectClosed = (w) => {
  if (w.closing !== null) { w.closing.reject(w.error); w.closing = null; }
  if (w.writer !== null) { w.writer.closed.reject(w.error); core.handled(w.writer.closed.promise); }
};
const finishErroring = (w) => {
  w.state = 'errored';
  w.controller.errorSteps();
  while (w.requests.length > 0) w.requests.shift().reject(w.error);
  const pending = w.pendingAbort;
  if (pending === null) { rejectClosed(w); return; }
  w.pendingAbort = null;
  if (pending.wasErroring) { pending.reject(w.error); rejectClosed(w); return; }
  then(w.controller.abortSteps(pending.reason),
    () => { pending.resolve(undefined); rejectClosed(w); },
    (error) => { pending.reject(error); rejectClosed(w); });
};
const setReady = (writer, error) => {
  if (writer.readyPending) writer.ready.reject(error);
  else { writer.ready = withResolvers(); writer.ready.reject(error); }
  writer.readyPending = false;
  core.handled(writer.ready.promise);
};
const startErroring = (w, error) => {
  w.state = 'erroring';
  w.error = error;
  if (w.writer !== null) setReady(w.writer, error);
  if (w.onerror !== null) w.onerror();
  if (w.inFlight === null && w.closeInFlight === null && w.controller.started) finishErroring(w);
};
const dealWithRejection = (w, error) => {
  if (w.state === 'writable') startErroring(w, error);
  else finishErroring(w);
};
const updateBackpressure = (w, on) => {
  if (w.writer !== null && on !== w.backpressure) {
    if (on) { w.writer.ready = withResolvers(); w.writer.readyPending = true; }
    else { w.writer.ready.resolve(undefined); w.writer.readyPending = false; }
  }
  w.backpressure = on;
};
const abort = (w, reason) => {
  if (w.state === 'closed' || w.state === 'errored') return resolved(undefined);
  w.controller.abortReason = reason;
  signals.abort(w.controller.signal(), reason);
  if (w.state === 'closed' || w.state === 'errored') return resolved(undefined);
  if (w.pendingAbort !== null) return w.pendingAbort.promise;
  const wasErroring = w.state === 'erroring';
  w.pendingAbort = { ...withResolvers(), reason: wasErroring ? undefined : reason, wasErroring };
  const { promise } = w.pendingAbort;
  if (!wasErroring) startErroring(w, reason);
  return promise;
};
const close = (w) => {
  if (w.state === 'closed' || w.state === 'errored') return rejected(typeError('This WritableStream has been closed.'));
  w.closing = withResolvers();
  if (w.writer !== null && w.backpressure && w.state === 'writable') { w.writer.ready.resolve(undefined); w.writer.readyPending = false; }
  const { promise } = w.closing;
  w.controller.close();
  return promise;
};

const controllerFor = (w, { start, write, close: closeWith, abort: abortWith }, mark, size) => {
  const CLOSE = {};
  const c = {
    stream: w, queue: new Queue(), total: 0, started: false, mark, size, write, closeWith, abortWith, abortSignal: null, abortReason: undefined,
    signal: () => (c.abortSignal ??= signals.make()),
    desired: () => c.mark - c.total,
    clear: () => { c.write = c.closeWith = c.abortWith = c.size = undefined; },
    errorSteps: () => { c.queue.clear(); c.total = 0; },
    abortSteps: (reason) => { const done = c.abortWith(reason); c.clear(); return done; },
    error: (error) => { if (w.state === 'writable') { c.clear(); startErroring(w, error); } },
    close: () => { c.queue.push({ chunk: CLOSE, size: 0 }); c.advance(); },
    chunkSize: (chunk) => {
      if (c.size === undefined) return 1;
      try { return usableSize(c.size(chunk)); } catch (error) { c.error(error); return 1; }
    },
    enqueue: (chunk, took) => {
      c.queue.push({ chunk, size: took });
      c.total += took;
      if (!closeQueuedOrInFlight(w) && w.state === 'writable') updateBackpressure(w, c.desired() <= 0);
      c.advance();
    },
    take: () => { const { size: took } = c.queue.shift(); c.total = c.queue.length === 0 ? 0 : c.total - took; },
    advance: () => {
      if (!c.started || w.inFlight !== null) return;
      if (w.state === 'erroring') { finishErroring(w); return; }
      if (c.queue.length === 0 || w.state !== 'writable' || w.closeInFlight !== null) return;
      const { chunk } = c.queue.peek();
      if (chunk === CLOSE) c.runClose();
      else c.runWrite(chunk);
    },
    runClose: () => {
      w.closeInFlight = w.closing;
      w.closing = null;
      c.take();
      const done = c.closeWith();
      c.clear();
      then(done, () => {
        w.closeInFlight.resolve(undefined);
        w.closeInFlight = null;
        if (w.state === 'erroring') {
          w.error = undefined;
          if (w.pendingAbort !== null) { w.pendingAbort.resolve(undefined); w.pendingAbort = null; }
        }
        w.state = 'closed';
        if (w.writer !== null) w.writer.closed.resolve(undefined);
        if (w.onerror !== null) w.onerror();
      }, (error) => {
        w.closeInFlight.reject(error);
        w.closeInFlight = null;
        if (w.pendingAbort !== null) { w.pendingAbort.reject(error); w.pendingAbort = null; }
        dealWithRejection(w, error);
      });
    },
    runWrite: (chunk) => {
      w.inFlight = w.requests.shift();
      then(c.write(chunk), () => {
        w.inFlight.resolve(undefined);
        w.inFlight = null;
        c.take();
        if (!closeQueuedOrInFlight(w) && w.state === 'writable') updateBackpressure(w, c.desired() <= 0);
        c.advance();
      }, (error) => {
        if (w.state === 'writable') c.clear();
        w.inFlight.reject(error);
        w.inFlight = null;
        dealWithRejection(w, error);
      });
    },
  };
  w.controller = c;
  updateBackpressure(w, c.desired() <= 0);
  then(resolved(start()), () => { c.started = true; c.advance(); }, (error) => { c.started = true; dealWithRejection(w, error); });
  return c;
};

const acquire = (w) => {
  if (w.writer !== null) throw typeError('This WritableStream is currently locked to a writer.');
  const writer = { stream: w, closed: withResolvers(), ready: withResolvers(), readyPending: false };
  if (w.state === 'writable') {
    if (!closeQueuedOrInFlight(w) && w.backpressure) writer.readyPending = true;
    else writer.ready.resolve(undefined);
  } else if (w.state === 'erroring') { writer.ready.reject(w.error); core.handled(writer.ready.promise); }
  else if (w.state === 'closed') { writer.ready.resolve(undefined); writer.closed.resolve(undefined); }
  else {
    writer.ready.reject(w.error);
    core.handled(writer.ready.promise);
    writer.closed.reject(w.error);
    core.handled(writer.closed.promise);
  }
  w.writer = writer;
  return writer;
};
const release = (writer) => {
  const w = writer.stream;
  if (w === null) return;
  const error = typeError('This WritableStream writer has been released.');
  setReady(writer, error);
  if (w.state === 'closed' || w.state === 'errored') writer.closed = withResolvers();
  writer.closed.reject(error);
  core.handled(writer.closed.promise);
  w.writer = null;
  writer.stream = null;
};
const write = (writer, chunk) => {
  const w = writer.stream;
  const took = w.controller.chunkSize(chunk);
  if (w !== writer.stream) return rejected(typeError('This WritableStream writer has been released.'));
  if (w.state === 'errored') return rejected(w.error);
  if (closeQueuedOrInFlight(w) || w.state === 'closed') return rejected(typeError('This WritableStream has been closed.'));
  if (w.state === 'erroring') return rejected(w.error);
  const request = withResolvers();
  w.requests.push(request);
  w.controller.enqueue(chunk, took);
  return request.promise;
};
const desiredSize = (w) => (w.state === 'errored' || w.state === 'erroring' ? null : w.state === 'closed' ? 0 : w.controller.desired());

class WritableStream {
  #w;
  constructor(underlying = undefined, strategy = undefined) {
    if (underlying === secret) { this.#w = strategy; return; }
    if (underlying === undefined) underlying = {};
    if (underlying === null || (typeof underlying !== 'object' && typeof underlying !== 'function')) throw typeError('the sink is no object');
    if (underlying.type !== undefined) throw new p.RangeError('a sink has no type');
    const size = sizeOf(strategy), mark = highWaterMark(strategy, 1);
    const w = this.#w = initWritable();
    const face = makeController();
    const startWith = underlying.start;
    if (startWith !== undefined && typeof startWith !== 'function') throw typeError('start is no function');
    const writeWith = method(underlying, 'write'), closeWith = method(underlying, 'close'), abortWith = method(underlying, 'abort');
    controllerFor(w, {
      start: () => { tieController(face, w.controller); return startWith === undefined ? undefined : p.apply(startWith, underlying, [face]); },
      write: writeWith === undefined ? () => resolved(undefined) : (chunk) => writeWith(chunk, face),
      close: closeWith === undefined ? () => resolved(undefined) : () => closeWith(),
      abort: abortWith === undefined ? () => resolved(undefined) : (reason) => abortWith(reason),
    }, mark, size);
  }
  get locked() { return this.#w.writer !== null; }
  abort(reason = undefined) {
    let w;
    try { w = this.#w; } catch (error) { return rejected(error); }
    if (w.writer !== null) return rejected(typeError('This WritableStream is currently locked to a writer.'));
    return abort(w, reason);
  }
  close() {
    let w;
    try { w = this.#w; } catch (error) { return rejected(error); }
    if (w.writer !== null) return rejected(typeError('This WritableStream is currently locked to a writer.'));
    if (closeQueuedOrInFlight(w)) return rejected(typeError('This WritableStream has been closed.'));
    return close(w);
  }
  getWriter() { return makeWriter(acquire(this.#w)); }
  static {
    writableState = (value) => (typeof value === 'object' && value !== null && #w in value ? value.#w : null);
    makeWritable = (w) => new WritableStream(secret, w);
  }
}
core.brand(WritableStream, 'WritableStream');

class WritableStreamDefaultWriter {
  #r;
  constructor(stream, made = undefined) {
    if (stream === secret) { this.#r = made; return; }
    const w = writableState(stream);
    if (w === null) throw typeError('the stream is no WritableStream');
    this.#r = acquire(w);
  }
  get closed() { try { return this.#r.closed.promise; } catch (error) { return rejected(error); } }
  get ready() { try { return this.#r.ready.promise; } catch (error) { return rejected(error); } }
  get desiredSize() {
    if (this.#r.stream === null) throw typeError('This WritableStream writer has been released.');
    return desiredSize(this.#r.stream);
  }
  abort(reason = undefined) {
    let w;
    try { w = this.#r.stream; } catch (error) { return rejected(error); }
    return w === null ? rejected(typeError('This WritableStream writer has been released.')) : abort(w, reason);
  }
  close() {
    let w;
    try { w = this.#r.stream; } catch (error) { return rejected(error); }
    if (w === null) return rejected(typeError('This WritableStream writer has been released.'));
    if (closeQueuedOrInFlight(w)) return rejected(typeError('This WritableStream has been closed.'));
    return close(w);
  }
  write(chunk = undefined) {
    let r;
    try { r = this.#r; } catch (error) { return rejected(error); }
    return r.stream === null ? rejected(typeError('This WritableStream writer has been released.')) : write(r, chunk);
  }
  releaseLock() { release(this.#r); }
  static { makeWriter = (r) => new WritableStreamDefaultWriter(secret, r); }
}
core.brand(WritableStreamDefaultWriter, 'WritableStreamDefaultWriter');

class WritableStreamDefaultController {
  #c = null;
  constructor(given) { if (given !== secret) throw core.illegal(); }
  get signal() { return this.#c.signal(); }
  error(reason = undefined) { this.#c.error(reason); }
  static { makeController = () => new WritableStreamDefaultController(secret); tieController = (face, c) => { face.#c = c; }; }
}
core.brand(WritableStreamDefaultController, 'WritableStreamDefaultController');

// --- pipes ---
const pipeOptions = (options) => {
  const given = {
    preventAbort: !!options?.preventAbort, preventCancel: !!options?.preventCancel, preventClose: !!options?.preventClose,
    signal: options?.signal,
  };
  if (given.signal !== undefined && !signals.is(given.signal)) throw typeError('signal is no AbortSignal');
  return given;
};
const pipe = (s, w, { preventAbort, preventCancel, preventClose, signal }) => {
  const r = readable.acquire(s, 'default');
  const writer = acquire(w);
  s.disturbed = true;
  const done = withResolvers();
  let shutting = false, last = resolved(undefined);
  const finish = (failed, error) => {
    release(writer);
    readable.release(r);
    if (failed) done.reject(error); else done.resolve(undefined);
  };
  /** Waits for the writes begun, does the action, ends the pipe. */
  const shutdown = (action, failed, error) => {
    if (shutting) return;
    shutting = true;
    const act = () => {
      if (action === null) { finish(failed, error); return; }
      then(action(), () => finish(failed, error), (worse) => finish(true, worse));
    };
    if (w.state === 'writable' && !closeQueuedOrInFlight(w)) then(waitWrites(), act, act);
    else act();
  };
  const waitWrites = () => { const now = last; return then(now, () => (now === last ? undefined : waitWrites())); };
  const sourceFailed = () => shutdown(preventAbort ? null : () => abort(w, s.error), true, s.error);
  const sourceClosed = () => shutdown(preventClose ? null : () => {
    if (closeQueuedOrInFlight(w) || w.state === 'closed') return resolved(undefined);
    return w.state === 'errored' ? rejected(w.error) : close(w);
  }, false, undefined);
  const sinkFailed = () => shutdown(preventCancel ? null : () => readable.cancel(s, w.error), true, w.error);
  const sinkClosed = () => {
    const error = typeError('the destination has been closed');
    shutdown(preventCancel ? null : () => readable.cancel(s, error), true, error);
  };
  const onAbort = () => {
    const error = signal.reason;
    shutdown(() => {
      const todo = [];
      if (!preventAbort) p.ArrayPush(todo, w.state === 'writable' ? abort(w, error) : resolved(undefined));
      if (!preventCancel) p.ArrayPush(todo, s.state === 'readable' ? readable.cancel(s, error) : resolved(undefined));
      return todo.length === 0 ? resolved(undefined) : todo.length === 1 ? todo[0] : then(todo[0], () => todo[1], (worse) => then(todo[1], () => { throw worse; }));
    }, true, error);
  };
  if (signal !== undefined) {
    if (signal.aborted) { onAbort(); return done.promise; }
    signals.onAbort(signal, onAbort);
  }
  then(writer.closed.promise, () => { if (!shutting) sinkClosed(); }, () => { if (!shutting) sinkFailed(); });
  then(r.closed.promise, () => { if (!shutting) drained(sourceClosed); }, () => { if (!shutting) sourceFailed(); });
  /** What was read before the source ended is written first. */
  let reading = false;
  const drained = (next) => { if (reading) p.queueMicrotask(() => drained(next)); else next(); };
  const step = () => {
    if (shutting) return;
    if (w.state === 'erroring' || w.state === 'errored') { sinkFailed(); return; }
    if (closeQueuedOrInFlight(w) || w.state === 'closed') { sinkClosed(); return; }
    then(writer.ready.promise, () => {
      if (shutting) return;
      if (s.state === 'errored') { sourceFailed(); return; }
      if (s.state === 'closed') { sourceClosed(); return; }
      reading = true;
      readable.read(r, {
        chunk: (chunk) => p.queueMicrotask(() => {
          reading = false;
          last = then(write(writer, chunk), undefined, noop);
          step();
        }),
        close: () => { reading = false; },
        error: () => { reading = false; },
      });
    }, noop);
  };
  step();
  return done.promise;
};

// --- transforms ---
/** Ties a readable and a writable side. `transformer` has start, transform, flush, cancel: each gives a promise. */
const transformFor = (transformer, writeMark, writeSize, readMark, readSize, bytes = false) => {
  const s = readable.initReadable(), w = initWritable();
  const startDone = withResolvers();
  let backpressure = true, change = withResolvers(), finishing = null;
  const setBackpressure = (on) => {
    if (backpressure === on) return;
    change.resolve(undefined);
    change = withResolvers();
    backpressure = on;
  };
  const errorWritable = (error) => {
    t.clear();
    w.controller.error(error);
    if (backpressure) setBackpressure(false);
  };
  const t = {
    clear: () => { transformer.transform = transformer.flush = transformer.cancel = noop; },
    error: (error) => { s.controller.error(error); errorWritable(error); },
    enqueue: (chunk) => {
      if (!s.controller.canClose()) throw typeError('the readable side can take no more chunks');
      try { s.controller.enqueue(chunk); } catch (error) { errorWritable(error); throw s.state === 'errored' ? s.error : error; }
      const on = !shouldPull(s.controller);
      if (on !== backpressure) setBackpressure(true);
    },
    terminate: () => {
      if (s.controller.canClose()) s.controller.close();
      errorWritable(typeError('the transform has been terminated'));
    },
    desired: () => s.controller.desired(),
  };
  const perform = (chunk) => then(transformer.transform(chunk), undefined, (error) => { t.error(error); throw error; });
  const finish = (action, onDone, onFailed) => {
    if (finishing !== null) return finishing.promise;
    finishing = withResolvers();
    core.handled(finishing.promise);
    const done = action();
    t.clear();
    then(done, () => onDone(), (error) => onFailed(error));
    return finishing.promise;
  };
  const cancelLike = (reason, fromReadable) => finish(() => transformer.cancel(reason) ?? resolved(undefined), () => {
    if (fromReadable) {
      if (w.state === 'errored') { finishing.reject(w.error); return; }
      errorWritable(reason);
    } else {
      if (s.state === 'errored') { finishing.reject(s.error); return; }
      s.controller.error(reason);
    }
    finishing.resolve(undefined);
  }, (error) => {
    if (fromReadable) errorWritable(error); else s.controller.error(error);
    finishing.reject(error);
  });
  controllerFor(w, {
    start: () => startDone.promise,
    write: (chunk) => {
      if (!backpressure) return perform(chunk);
      return then(change.promise, () => {
        if (w.state === 'erroring') throw w.error;
        return perform(chunk);
      });
    },
    close: () => finish(() => transformer.flush() ?? resolved(undefined), () => {
      if (s.state === 'errored') { finishing.reject(s.error); return; }
      if (s.controller.canClose()) s.controller.close();
      finishing.resolve(undefined);
    }, (error) => { s.controller.error(error); finishing.reject(error); }),
    abort: (reason) => cancelLike(reason, false),
  }, writeMark, writeSize);
  const source = {
    start: () => startDone.promise,
    pull: () => { setBackpressure(false); return change.promise; },
    cancel: (reason) => cancelLike(reason, true),
  };
  if (bytes) readable.byteController(s, source, readMark, undefined);
  else readable.defaultController(s, source, readMark, readSize);
  return { s, w, t, started: startDone };
};

class TransformStream {
  #readable; #writable;
  constructor(transformer = undefined, writableStrategy = undefined, readableStrategy = undefined) {
    if (transformer === undefined) transformer = {};
    if (transformer === null || (typeof transformer !== 'object' && typeof transformer !== 'function')) throw typeError('the transformer is no object');
    if (transformer.readableType !== undefined || transformer.writableType !== undefined) throw new p.RangeError('a transformer has no types');
    const readMark = highWaterMark(readableStrategy, 0), readSize = sizeOf(readableStrategy);
    const writeMark = highWaterMark(writableStrategy, 1), writeSize = sizeOf(writableStrategy);
    const face = makeTransformController();
    const startWith = transformer.start;
    if (startWith !== undefined && typeof startWith !== 'function') throw typeError('start is no function');
    const transformWith = method(transformer, 'transform'), flushWith = method(transformer, 'flush'), cancelWith = method(transformer, 'cancel');
    const steps = {
      transform: transformWith === undefined ? (chunk) => call(t.enqueue, undefined, [chunk]) : (chunk) => transformWith(chunk, face),
      flush: flushWith === undefined ? () => resolved(undefined) : () => flushWith(face),
      cancel: cancelWith === undefined ? () => resolved(undefined) : (reason) => cancelWith(reason),
    };
    const { s, w, t, started } = transformFor(steps, writeMark, writeSize, readMark, readSize);
    tieTransform(face, t);
    this.#readable = readable.makeStream(s);
    this.#writable = makeWritable(w);
    started.resolve(startWith === undefined ? undefined : p.apply(startWith, transformer, [face]));
  }
  get readable() { return this.#readable; }
  get writable() { return this.#writable; }
}
core.brand(TransformStream, 'TransformStream');

class TransformStreamDefaultController {
  #t = null;
  constructor(given) { if (given !== secret) throw core.illegal(); }
  get desiredSize() { return this.#t.desired(); }
  enqueue(chunk = undefined) { this.#t.enqueue(chunk); }
  error(reason = undefined) { this.#t.error(reason); }
  terminate() { this.#t.terminate(); }
  static { makeTransformController = () => new TransformStreamDefaultController(secret); tieTransform = (face, t) => { face.#t = t; }; }
}
core.brand(TransformStreamDefaultController, 'TransformStreamDefaultController');

/** A transform of ours: `transform(chunk, enqueue)` and `flush(enqueue)`; what they throw errors both sides. */
const makeTransform = ({ transform, flush = noop, bytes = false, cancel = noop }) => {
  const steps = {
    transform: (chunk) => call(transform, undefined, [chunk, (out) => t.enqueue(out)]),
    flush: () => call(flush, undefined, [(out) => t.enqueue(out)]),
    cancel: (reason) => call(cancel, undefined, [reason]),
  };
  const { s, w, t, started } = transformFor(steps, 1, () => 1, 0, () => 1, bytes);
  started.resolve(undefined);
  return { readable: readable.makeStream(s), writable: makeWritable(w), t };
};
/** A sink of ours. */
const makeSink = ({ write: writeWith, close: closeWith = noop, abort: abortWith = noop, mark = 1 }) => {
  const w = initWritable();
  controllerFor(w, {
    start: noop,
    write: (chunk) => call(writeWith, undefined, [chunk]),
    close: () => call(closeWith, undefined, []),
    abort: (reason) => call(abortWith, undefined, [reason]),
  }, mark, () => 1);
  return makeWritable(w);
};

return {
  WritableStream, WritableStreamDefaultWriter, WritableStreamDefaultController, TransformStream, TransformStreamDefaultController,
  writableState, pipeOptions, pipe, makeTransform, makeSink,
};
