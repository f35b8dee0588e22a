export default async (print) => {
  const a = new Request('http://x/1', { method: 'PUT', headers: { a: '1' }, body: 'body' });
  const b = new Request(a, { headers: { b: '2' } });
  print(b.method, b.url, [...b.headers], a.bodyUsed, b.bodyUsed);
  print(await b.text());
  try { new Request('http://x/2', a); } catch (e) { print(e.name); }
  const c = new Request('http://x/2', new Request('http://x', { method: 'PUT', headers: { h: '1' }, body: 'z' })); print(c.method, c.url, c.headers.get('h'), await c.text());
  const d = new Request(new URL('http://u/?q')); print(d.url);
  const e = new Request(new Request('http://x', { method: 'POST', body: 'one' }), { body: 'two' }); print(await e.text(), e.method);
};
