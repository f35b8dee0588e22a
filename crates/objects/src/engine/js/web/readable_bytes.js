// The controller of streams of bytes.
const { p } = core;
const { promiseResolve: resolved } = p;
const then = p.PromiseThen;
const typeError = (message) => new p.TypeError(message);
const noop = () => {};
const { Queue, close, fail, pullIfNeeded } = core.load('readable');

const byteController = (s, { start, pull, cancel: cancelWith }, mark, autoAllocate) => {
  // A pull-into: the memory a read waits to have filled. `kind` is that of the reader it is for, or 'none' when it has gone.
  const c = {
    bytes: true, stream: s, queue: new Queue(), total: 0, closeRequested: false, started: false, pulling: false, pullAgain: false,
    pull, cancelWith, mark, autoAllocate, pending: new Queue(),
    // What code was given to answer the first of them, and what that is.
    request: null, asked: null,
    desired: () => (s.state === 'errored' ? null : s.state === 'closed' ? 0 : c.mark - c.total),
    canClose: () => !c.closeRequested && s.state === 'readable',
    clear: () => { c.pull = c.cancelWith = undefined; },
    dropRequest: () => {
      if (c.request === null) return;
      c.asked.controller = null;
      c.asked.view = null;
      c.request = c.asked = null;
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
      if (c.total === 0 && c.closeRequested) { c.clear(); close(s); } else pullIfNeeded(c);
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
      pullIfNeeded(c);
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
      pullIfNeeded(c);
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
      pullIfNeeded(c);
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
      pullIfNeeded(c);
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
  then(resolved(start()), () => { c.started = true; pullIfNeeded(c); }, c.error);
  return c;
};
return { byteController };
