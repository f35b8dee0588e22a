export default async (print) => {
  const r = new Response('chunk');
  print(r.body instanceof ReadableStream, r.body === r.body, r.body.locked);
  const reader = r.body.getReader();
  const { value, done } = await reader.read();
  print(new TextDecoder().decode(value), done, (await reader.read()).done, r.bodyUsed);
  reader.releaseLock();
  try { await r.text(); } catch (e) { print(e.name); }
  const b = new Response(new Uint8Array([1, 2, 3, 4])).body.getReader({ mode: 'byob' });
  const first = await b.read(new Uint8Array(3)); print(first.value, first.done);
};
