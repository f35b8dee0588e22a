export default async (print) => {
  const make = () => { let i = 0; let cancelled = []; const s = new ReadableStream({ pull(c) { if (i < 3) c.enqueue(i++); else c.close(); }, cancel(r) { cancelled.push(r); } }); s.log = cancelled; return s; };
  const a = make(); for await (const x of a) print(x); print(a.locked);
  const b = make(); for await (const x of b) { if (x === 1) break; } print(b.log.length, b.locked);
  const c = make(); for await (const x of c.values({ preventCancel: true })) { break; } print(c.log.length, c.locked); const r = c.getReader(); print(await r.read());
  for await (const x of ReadableStream.from(['p', Promise.resolve('q')])) print(x);
  for await (const x of ReadableStream.from((async function* () { yield 1; yield 2; })())) print(x);
};
