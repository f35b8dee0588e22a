export default async (print) => {
  let c0; const s = new ReadableStream({ start(c) { c0 = c; } }); c0.enqueue(1); c0.error(new RangeError('bad'));
  const r = s.getReader(); try { await r.read(); } catch (e) { print(e.name, e.message); }
  try { await r.closed; } catch (e) { print('closed', e.message); }
  try { c0.enqueue(2); print('fine'); } catch (e) { print(e.name); }
  try { c0.close(); print('fine'); } catch (e) { print(e.name); }
  const t = new ReadableStream({ pull() { throw new SyntaxError('pull'); } }); try { await t.getReader().read(); } catch (e) { print(e.message); }
  const u = new ReadableStream({ start() { return Promise.reject(new Error('start')); } }); try { await u.getReader().read(); } catch (e) { print(e.message); }
};
