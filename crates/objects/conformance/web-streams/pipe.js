export default async (print) => {
  const source = () => new ReadableStream({ start(c) { c.enqueue(1); c.enqueue(2); c.close(); } });
  const sink = (log) => new WritableStream({ write(x) { log.push(x); }, close() { log.push('close'); }, abort(e) { log.push('abort ' + e); } });
  const a = []; await source().pipeTo(sink(a)); print(a);
  const b = []; const w = sink(b); await source().pipeTo(w, { preventClose: true }); print(b, w.locked);
  const c = []; try { await new ReadableStream({ start(k) { k.error('bad'); } }).pipeTo(sink(c)); } catch (e) { print(e, c); }
  const d = []; try { await new ReadableStream({ start(k) { k.error('bad'); } }).pipeTo(sink(d), { preventAbort: true }); } catch (e) { print(e, d); }
  let why; try { await new ReadableStream({ pull(k) { k.enqueue(1); }, cancel(r) { why = r; } }).pipeTo(new WritableStream({ write() { throw 'full'; } })); } catch (e) { print(e, why); }
};
