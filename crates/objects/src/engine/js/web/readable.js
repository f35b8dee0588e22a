// What a readable stream is and does, and the controller of streams of anything; the names of the standard's abstract
// operations are kept where they help to compare.
const { p } = core;
const { promiseResolve: resolved, promiseReject: rejected, withResolvers } = p;
const then = p.PromiseThen;
const typeError = (message) => new p.TypeError(message);
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

// Internals are plain objects, which the public classes have behind a private field.
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

// --- what both controllers do ---
const shouldPull = (c) => {
  if (c.stream.state !== 'readable' || c.closeRequested || !c.started) return false;
  const r = c.stream.reader;
  return (r !== null && r.requests.length > 0) || c.desired() > 0;
};
const pullIfNeeded = (c) => {
  if (!shouldPull(c)) return;
  if (c.pulling) { c.pullAgain = true; return; }
  c.pulling = true;
  then(c.pull(), () => {
    c.pulling = false;
    if (c.pullAgain) { c.pullAgain = false; pullIfNeeded(c); }
  }, c.error);
};

// --- the default controller ---
const defaultController = (s, { start, pull, cancel: cancelWith }, mark, size) => {
  const c = {
    bytes: false, stream: s, queue: new Queue(), total: 0, closeRequested: false, started: false, pulling: false, pullAgain: false,
    pull, cancelWith, size, mark,
    desired: () => (s.state === 'errored' ? null : s.state === 'closed' ? 0 : c.mark - c.total),
    canClose: () => !c.closeRequested && s.state === 'readable',
    clear: () => { c.pull = c.cancelWith = c.size = undefined; },
    enqueue: (chunk) => {
      if (!c.canClose()) throw typeError('the stream can take no more chunks');
      if (s.reader !== null && s.reader.requests.length > 0) s.reader.requests.shift().chunk(chunk);
      else {
        let took;
        try { took = usableSize(c.size(chunk)); } catch (error) { c.error(error); throw error; }
        c.queue.push({ chunk, size: took });
        c.total += took;
      }
      pullIfNeeded(c);
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
      if (c.queue.length === 0) { s.reader.requests.push(request); pullIfNeeded(c); return; }
      const { chunk, size: took } = c.queue.shift();
      c.total = c.queue.length === 0 ? 0 : c.total - took;
      if (c.closeRequested && c.queue.length === 0) { c.clear(); close(s); } else pullIfNeeded(c);
      request.chunk(chunk);
    },
    releaseSteps: noop,
  };
  s.controller = c;
  then(resolved(start()), () => { c.started = true; pullIfNeeded(c); }, c.error);
  return c;
};
return { Queue, call, method, highWaterMark, sizeOf, initReadable, close, fail, cancel, acquire, release, read, readPromise, defaultController, usableSize, shouldPull, pullIfNeeded };
