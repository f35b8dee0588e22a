export default async (print) => {
  const s = new ReadableStream({ start(c) { c.enqueue('a'); c.enqueue('b'); c.close(); } });
  const [x, y] = s.tee(); print(s.locked);
  const all = async (t) => { const out = []; for await (const v of t) out.push(v); return out; };
  print(await all(x), await all(y));
  const e = new ReadableStream({ start(c) { c.error(new Error('boom')); } }); const [u, v] = e.tee(); for (const q of [u, v]) try { await q.getReader().read(); } catch (err) { print(err.message); }
};
