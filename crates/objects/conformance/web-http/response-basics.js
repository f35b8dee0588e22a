export default async (print) => {
  const r = new Response('hi', { status: 201, statusText: 'Made', headers: { a: 'b' } });
  print(r.status, r.statusText, r.ok, r.headers.get('a'), r.headers.get('content-type'), r.redirected, r.url, r.type, r.bodyUsed);
  print(await r.text(), r.bodyUsed);
  const e = new Response(); print(e.status, e.statusText, e.body, await e.text(), e.headers.get('content-type'));
  print(new Response(null, { status: 404 }).ok, new Response(null, { status: 404 }).statusText, new Response(null, { status: 299 }).ok);
};
