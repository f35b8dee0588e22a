export default async (print) => {
  const { readable, writable } = new IdentityTransformStream(); const w = writable.getWriter(); const done = (async () => { await w.write(new TextEncoder().encode('abc')); await w.write(new Uint8Array([100])); await w.close(); })();
  print(await new Response(readable).text()); await done;
  const f = new FixedLengthStream(4); const k = f.writable.getWriter(); const wrote = (async () => { await k.write(new Uint8Array([1, 2, 3, 4])); await k.close(); })(); print((await new Response(f.readable).arrayBuffer()).byteLength); await wrote;
};
