export default async (print) => {
  const r = new Request('http://Example.com/a b?q#frag', { method: 'post', headers: { 'X-Y': '1' }, body: 'hello' });
  print(r.method, r.url, r.headers.get('x-y'), r.headers.get('content-type'), r.bodyUsed, r.redirect);
  print(await r.text(), r.bodyUsed);
  try { await r.text(); } catch (e) { print(e.name); }
  const g = new Request('http://x/'); print(g.method, g.body, g.bodyUsed, await g.text(), g.headers.get('content-type'));
  print(new Request('http://x', { method: 'patch' }).method, new Request('http://x', { method: 'PATCH' }).method, new Request('http://x', { method: 'delete' }).method);
};
