export default async (print) => {
  const r = new Request('http://x', { method: 'POST', body: 'shared' });
  const c = r.clone();
  c.headers.set('only', 'clone');
  print(r.headers.get('only'), await r.text(), await c.text(), r.bodyUsed, c.bodyUsed);
  try { r.clone(); } catch (e) { print(e.name); }
  const s = new Request('http://x', { method: 'POST', body: new ReadableStream({ start(k) { k.enqueue(new TextEncoder().encode('st')); k.enqueue(new TextEncoder().encode('ream')); k.close(); } }) });
  const t = s.clone(); print(await t.text(), await s.text());
};
