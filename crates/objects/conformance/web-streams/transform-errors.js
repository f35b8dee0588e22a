export default async (print) => {
  const t = new TransformStream({ transform() { throw new RangeError('in transform'); } }); const w = t.writable.getWriter(); const wrote = w.write(1).catch((e) => print('write', e.message));
  try { await t.readable.getReader().read(); } catch (e) { print('read', e.message); } await wrote;
  const u = new TransformStream({ transform(x, c) { c.terminate(); } }); const k = u.writable.getWriter(); k.write(1).catch(() => {}); print((await u.readable.getReader().read()).done); try { await k.write(2); } catch (e) { print(e.name); }
  const v = new TransformStream(); await v.readable.cancel('gone'); try { await v.writable.getWriter().write(1); } catch (e) { print(e); }
  const x = new TransformStream({ flush() { throw new Error('flush'); } }); const y = x.writable.getWriter(); const closed = y.close().catch((e) => print('close', e.message)); try { await x.readable.getReader().read(); } catch (e) { print('read', e.message); } await closed;
};
