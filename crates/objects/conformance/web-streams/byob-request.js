export default async (print) => {
  let n = 0;
  const s = new ReadableStream({ type: 'bytes', pull(c) { const q = c.byobRequest; if (!q) { print('none'); c.close(); return; } const v = q.view; n++; if (n > 2) { c.close(); q.respond(0); return; } v[0] = n; v[1] = n + 10; q.respond(2); } });
  const r = s.getReader({ mode: 'byob' });
  print(await r.read(new Uint8Array(4))); print((await r.read(new Uint8Array(4))).value); const last = await r.read(new Uint8Array(4)); print(last.done, last.value?.length);
  const a = new ReadableStream({ type: 'bytes', autoAllocateChunkSize: 3, pull(c) { print(c.byobRequest.view.length); c.byobRequest.view[0] = 7; c.byobRequest.respond(1); } });
  print((await a.getReader().read()).value);
};
