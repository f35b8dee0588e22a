export default async (print) => {
  const log = [];
  const s = new ReadableStream({ start(c) { log.push('start', c.desiredSize); }, pull(c) { log.push('pull'); c.enqueue(log.length); if (log.length > 5) c.close(); }, cancel(r) { log.push('cancel ' + r); } });
  const r = s.getReader(); print(s.locked);
  for (;;) { const { value, done } = await r.read(); print(value, done); if (done) break; }
  print(log, await r.closed);
  r.releaseLock(); print(s.locked);
  try { await r.read(); } catch (e) { print(e.name); }
};
