export default async (print) => {
  const body = '--X\r\nContent-Disposition: form-data; name="a"\r\n\r\nvalue\r\n--X\r\nContent-Disposition: form-data; name="f"; filename="x.txt"\r\nContent-Type: text/html\r\n\r\n<b>\r\n--X--\r\n';
  const f = await new Response(body, { headers: { 'content-type': 'multipart/form-data; boundary=X' } }).formData();
  print(f.get('a'), f.get('f').name, f.get('f').type, await f.get('f').text());
  const u = await new Response('a=1&b=%20x+y&a=2', { headers: { 'content-type': 'application/x-www-form-urlencoded' } }).formData();
  print([...u]);
  for (const [b, t] of [['x', 'multipart/form-data; boundary=X'], ['x', 'multipart/form-data'], ['x', 'text/plain'], ['--X\r\n\r\n', 'multipart/form-data; boundary=X']]) {
    try { await new Response(b, { headers: { 'content-type': t } }).formData(); print('fine'); } catch (e) { print(e.name); }
  }
};
