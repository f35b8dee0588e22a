export default async (print) => {
  const t = new TransformStream({ start(c) { c.enqueue('first'); }, transform(x, c) { c.enqueue(x); c.enqueue(x * 2); }, flush(c) { c.enqueue('last'); } });
  const w = t.writable.getWriter(); w.write(1); w.write(2); w.close(); for await (const x of t.readable) print(x);
  const id = new TransformStream(); const k = id.writable.getWriter(); k.write('same'); k.close(); print((await id.readable.getReader().read()).value);
};
