export default async (print) => {
  const log = [];
  const w = new WritableStream({ start(c) { log.push('start'); }, async write(x) { log.push('write ' + x); await null; log.push('wrote ' + x); }, close() { log.push('close'); }, abort(r) { log.push('abort ' + r); } });
  const k = w.getWriter(); print(w.locked, k.desiredSize);
  k.write('a'); const second = k.write('b'); print(k.desiredSize); await second; await k.ready; await k.close(); await k.closed; print(log);
  try { await k.write('c'); } catch (e) { print(e.name); }
  try { await k.close(); } catch (e) { print(e.name); }
  k.releaseLock(); print(w.locked);
};
