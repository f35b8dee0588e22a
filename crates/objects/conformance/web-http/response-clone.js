export default async (print) => {
  const r = new Response('abc', { status: 418, headers: { k: 'v' } });
  const c = r.clone();
  print(c.status, c.headers.get('k'), await c.text(), await r.text());
  try { r.clone(); } catch (e) { print(e.name); }
  const x = new Response('q'); x.body.getReader();
  try { x.clone(); } catch (e) { print(e.name); }
  try { await x.text(); } catch (e) { print(e.name, x.bodyUsed); }
};
