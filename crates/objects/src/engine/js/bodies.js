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
  const state = { credit: window, wake: null, cancelled: false, reader: null };
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
  if (state.reader !== null) core.handled(state.reader.cancel(new p.Error('the reader of the body has gone')));
};
core.on.chunk = (number, bytes, end) => {
  const state = p.MapGet(receiving, number);
  if (state === undefined) return;
  if (end) p.MapDelete(receiving, number);
  if (bytes.length > 0) { state.owed += bytes.length; state.controller.enqueue(bytes); }
  if (end) { state.controller.close(); state.controller.byobRequest?.respond(0); }
  else if (state.hungry) { state.hungry = false; state.repay(); }
};
core.on.streamFailed = (number, problem) => {
  const state = p.MapGet(receiving, number);
  if (state === undefined) return;
  p.MapDelete(receiving, number);
  state.controller.error(core.errorOf(problem));
};
return {
  /** The number of a stream that is sent as long as `event` lasts, or the bytes if they are few. */
  send: (body, event) => {
    if (typeof body === 'string') body = ops.utf8Encode(body);
    if (p.isView(body) && body.length <= wholeBody) return body;
    const number = ops.newStream();
    core.keep(event, pump(number, body));
    return number;
  },
  /** A stream of what comes under a number. */
  receive: (body) => {
    const state = { controller: null, owed: 0, hungry: false, repay: () => { if (state.owed > 0) { ops.credit(body, state.owed); state.owed = 0; } } };
    const stream = new (core.load('streams').ReadableStream)({
      type: 'bytes',
      start(controller) { state.controller = controller; },
      pull() { state.hungry = state.owed === 0; state.repay(); },
      cancel() { p.MapDelete(receiving, body); ops.cancelStream(body); },
    }, { highWaterMark: 0 });
    p.MapSet(receiving, body, state);
    return stream;
  },
};
