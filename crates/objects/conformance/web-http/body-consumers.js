export default async (print) => {
  const r = () => new Response('{"a":1}', { headers: { 'content-type': 'application/json' } });
  print(await r().json(), (await r().arrayBuffer()).byteLength, (await r().bytes()).length, (await r().blob()).type, (await r().blob()).size);
  try { await new Response('{').json(); } catch (e) { print(e.name); }
  try { await new Response('').json(); } catch (e) { print(e.name); }
  print(await new Response(new Uint8Array([0xef, 0xbb, 0xbf, 0x61])).text(), await new Response(new Uint8Array([0xff])).text());
  try { await r().formData(); } catch (e) { print(e.name); }
  try { await new Response('x', { headers: {} }).formData(); } catch (e) { print(e.name); }
};
