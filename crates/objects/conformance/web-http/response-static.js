export default async (print) => {
  const j = Response.json({ a: [1, null, 'x'] }, { status: 202, headers: { x: 'y' } });
  print(j.status, j.headers.get('content-type'), j.headers.get('x'), await j.text());
  print(Response.json('s', { headers: { 'content-type': 'application/problem+json' } }).headers.get('content-type'));
  const r = Response.redirect('http://a/b', 301); print(r.status, r.headers.get('location'), r.body);
  print(Response.redirect('http://a').status);
  try { r.headers.set('a', 'b'); print('set'); } catch (e) { print('immutable', e.name); }
  try { Response.redirect('http://a', 200); print('fine'); } catch (e) { print('status', e.name); }
  try { Response.redirect('nope'); print('fine'); } catch (e) { print('url', e.name); }
  try { print(await Response.json(undefined).text()); } catch (e) { print('undefined', e.name); }
  try { Response.json(1n); print('fine'); } catch (e) { print('bigint', e.name); }
};
