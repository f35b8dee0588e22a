export default async (print) => {
  let why; const s = new ReadableStream({ start(c) { c.enqueue(1); }, cancel(r) { why = r; return Promise.resolve('ignored'); } });
  print(await s.cancel('reason'), why, await s.cancel());
  const r = s.getReader(); print(await r.read());
  const t = new ReadableStream({ cancel() { throw new Error('no'); } }); try { await t.cancel(); } catch (e) { print(e.message); }
  const u = new ReadableStream(); u.getReader(); try { await u.cancel(); } catch (e) { print(e.name); }
  try { u.getReader(); } catch (e) { print(e.name); }
};
