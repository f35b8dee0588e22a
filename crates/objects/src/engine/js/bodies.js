// Bodies of requests and responses that are longer than one message.
const { p } = core;
const { wholeBody, window, chunk: largest } = ops.limits;
const NOTHING = new p.Uint8Array(0);
const sending = new p.Map(), receiving = new p.Map();

const room = async (state, bytes) => {
  while (state.credit < bytes && !state.cancelled) {
    const { promise, resolve } = p.withResolvers();
    state.wake = resolve;
    await promise;
  }
  state.credit -= bytes;
  return !state.cancelled;
};
const sendView = async (number, state, view) => {
  for (let at = 0; at < view.length; at += largest) {
    const part = p.TypedSubarray(view, at, p.min(at + largest, view.length));
    if (!await room(state, part.length)) return false;
    ops.sendChunk(number, part, false);
  }
  return true;
};
const pump = async (number, body) => {
  const { promise, resolve } = p.withResolvers();
  const state = { credit: window, wake: null, cancelled: false, reader: null, over: promise };
  p.MapSet(sending, number, state);
  try {
    if (p.isView(body)) {
      if (await sendView(number, state, body)) ops.sendChunk(number, NOTHING, true);
      return;
    }
    const reader = state.reader = body.getReader();
    for (;;) {
      const { value, done } = await reader.read();
      if (state.cancelled) return;
      if (done) { ops.sendChunk(number, NOTHING, true); return; }
      const view = core.viewOf(value);
      if (view === null) throw new p.TypeError('a body\'s stream gave something that is no bytes');
      if (!await sendView(number, state, view)) return;
    }
  } catch (error) {
    ops.failStream(number, core.problemOf(error, true));
  } finally {
    p.MapDelete(sending, number);
    resolve();
  }
};
core.on.credit = (number, bytes) => {
  const state = p.MapGet(sending, number);
  if (state === undefined) return;
  state.credit += bytes;
  state.wake?.();
};
core.on.streamCancelled = (number) => {
  const state = p.MapGet(sending, number);
  if (state === undefined) return;
  state.cancelled = true;
  state.wake?.();
  if (state.reader !== null) core.handled(state.reader.cancel(new p.Error('Network connection lost.')));
};
/** What is received is held here while somebody waits for it, and otherwise by whoever can read it alone: what nobody can read ends. */
const stateOf = (number) => {
  const entry = p.MapGet(receiving, number);
  return entry === undefined ? undefined : entry.waiting ?? p.WeakRefDeref(entry.state);
};
core.on.chunk = (number, bytes, end) => {
  const state = stateOf(number);
  if (end) p.MapDelete(receiving, number);
  if (state === undefined) return;
  let waited = false;
  if (bytes.length > 0) {
    waited = state.entry.waiting !== null;
    state.entry.waiting = null;
    state.owed += bytes.length;
    state.controller.enqueue(bytes);
  }
  if (end) { state.controller.close(); state.controller.byobRequest?.respond(0); }
  else if (waited) state.repay();
};
const fail = (number, error) => {
  const state = stateOf(number);
  p.MapDelete(receiving, number);
  if (state !== undefined) state.controller.error(error);
};
core.on.streamFailed = (number, problem) => { fail(number, core.errorOf(problem)); };
return {
  /** The number of a stream for which `event`, or the one that runs now, lasts; or the bytes if they are few. */
  send: (body, event) => {
    if (typeof body === 'string') body = ops.utf8Encode(body);
    if (p.isView(body) && body.length <= wholeBody) return body;
    const number = ops.newStream();
    core.keep(core.event(event), pump(number, body));
    return number;
  },
  /** A stream of what comes under a number. */
  receive: (body) => {
    const state = { controller: null, owed: 0, entry: null, handle: ops.streamHandle(body), repay: () => { if (state.owed > 0) { ops.credit(body, state.owed); state.owed = 0; } } };
    const entry = state.entry = { state: new p.WeakRef(state), waiting: null };
    const stream = new (core.load('streams').ReadableStream)({
      type: 'bytes',
      start(controller) { state.controller = controller; },
      pull() { entry.waiting = state; state.repay(); },
      cancel() { p.MapDelete(receiving, body); ops.cancelStream(body); },
    }, { highWaterMark: 0 });
    p.MapSet(receiving, body, entry);
    return stream;
  },
  /** A request's body is read no longer than until it is answered, or its answer's body is sent. */
  over: async (number, stream, sent, message) => {
    const pumped = sent === null ? undefined : p.MapGet(sending, sent);
    if (pumped !== undefined) await pumped.over;
    if (p.MapDelete(receiving, number)) ops.cancelStream(number);
    const { controller } = core.load('streams').state(stream);
    controller.error(new p.TypeError(message));
  },
};
