export default async (print) => {
  const all = async (s) => new Uint8Array(await new Response(s).arrayBuffer());
  const text = 'hello '.repeat(200);
  for (const f of ['gzip', 'deflate', 'deflate-raw']) { const c = await all(new Response(text).body.pipeThrough(new CompressionStream(f))); print(f, c.length < 100); print(await new Response(new Response(c).body.pipeThrough(new DecompressionStream(f))).text() === text); }
  try { new CompressionStream('zip'); } catch (e) { print(e.name); }
  try { await all(new Response('not gzip').body.pipeThrough(new DecompressionStream('gzip'))); } catch (e) { print(e.name); }
  const half = (await all(new Response(text).body.pipeThrough(new CompressionStream('gzip')))).slice(0, 20); try { await all(new Response(half).body.pipeThrough(new DecompressionStream('gzip'))); } catch (e) { print(e.name); }
};
