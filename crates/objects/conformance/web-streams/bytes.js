export default async (print) => {
  const s = new ReadableStream({ type: 'bytes', start(c) { c.enqueue(new Uint8Array([1, 2, 3])); c.enqueue(new Uint16Array([0x0504])); c.close(); } });
  const r = s.getReader(); const got = []; for (let x = await r.read(); !x.done; x = await r.read()) got.push(...x.value); print(got);
  const t = new ReadableStream({ type: 'bytes', start(c) { c.enqueue(new Uint8Array([1, 2, 3, 4, 5])); c.close(); } });
  const b = t.getReader({ mode: 'byob' });
  let v = await b.read(new Uint8Array(2)); print(v); v = await b.read(new Uint8Array(v.value.buffer)); print(v); v = await b.read(new Uint8Array(8)); print(v.value.length, v.done); v = await b.read(new Uint8Array(8)); print(v.done, v.value?.length);
  try { new ReadableStream({}).getReader({ mode: 'byob' }); } catch (e) { print(e.name); }
};
