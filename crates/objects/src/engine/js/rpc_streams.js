// Streams that are passed by RPC: whoever has one asks its other end for each part, so that no more is under way than is asked for.
const { p } = core;
const { window } = ops.limits;
const viewOf = (chunk) => {
  const view = typeof chunk === 'string' ? ops.utf8Encode(core.usv(chunk)) : core.viewOf(chunk);
  if (view === null) throw new p.TypeError('a stream passed by RPC carries bytes only');
  return view;
};
/** An event of the entry worker lasts as long as its stream does. */
const keptUntil = () => {
  const { promise, resolve } = p.withResolvers();
  const event = core.instance === null ? core.event() : null;
  if (event !== null) core.keep(event, promise);
  return resolve;
};

/** What is given to whoever reads `stream`. */
const source = (stream) => {
  const reader = stream.getReader(), over = keptUntil();
  let rest = null, ended = false;
  const end = () => { ended = true; over(); };
  return {
    inner: {
      pull: async () => {
        while (rest === null || rest.length === 0) {
          let result;
          try { result = await reader.read(); } catch (error) { end(); throw error; }
          if (result.done) { end(); return null; }
          rest = viewOf(result.value);
        }
        const part = p.TypedSlice(rest, 0, window);
        rest = rest.length > window ? p.TypedSubarray(rest, window, rest.length) : null;
        return part;
      },
      cancel: async (reason) => { end(); await reader.cancel(reason); },
    },
    stays: over,
    gone: () => { if (!ended) { end(); core.handled(reader.cancel(new p.Error('Network connection lost.'))); } },
  };
};
/** What is given to whoever writes to `stream`. */
const sink = (stream) => {
  const writer = stream.getWriter(), over = keptUntil();
  core.handled(writer.closed);
  let ended = false;
  const end = () => { ended = true; over(); };
  return {
    inner: {
      write: async (bytes) => { await writer.ready; await writer.write(p.typedBuffer(bytes)); },
      close: async () => { end(); await writer.close(); },
      abort: async (reason) => { end(); await writer.abort(reason); },
    },
    stays: over,
    gone: () => { if (!ended) { end(); core.handled(writer.abort(new p.Error('WritableStream received over RPC was disposed before close() was called.'))); } },
  };
};

const readable = (hook) => {
  let controller;
  return new (core.load('streams').ReadableStream)({
    type: 'bytes',
    start(given) { controller = given; },
    async pull() {
      let part;
      try { part = await hook.call(['pull'], []); } catch {
        hook.end();
        throw new p.Error('ReadableStream received over RPC disconnected prematurely.');
      }
      if (part === null) {
        hook.end();
        controller.close();
        controller.byobRequest?.respond(0);
        return;
      }
      controller.enqueue(part);
    },
    async cancel(reason) {
      try { await hook.call(['cancel'], [reason instanceof p.Error ? reason : `${reason}`]); } finally { hook.end(); }
    },
  }, { highWaterMark: 0 });
};
const writable = (hook) => new (core.load('writable').WritableStream)({
  async write(chunk) {
    const view = viewOf(chunk);
    for (let at = 0; at < view.length; at += window) await hook.call(['write'], [p.TypedSlice(view, at, p.min(at + window, view.length))]);
  },
  async close() { try { await hook.call(['close'], []); } finally { hook.end(); } },
  async abort(reason) { try { await hook.call(['abort'], [reason instanceof p.Error ? reason : `${reason}`]); } finally { hook.end(); } },
});
return { source, sink, readable, writable };
