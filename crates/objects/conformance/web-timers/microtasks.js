export default async (print) => {
  const log = [];
  queueMicrotask(() => { log.push(1); queueMicrotask(() => log.push(3)); }); queueMicrotask(() => log.push(2));
  await null; await null; await null; print(log);
  try { queueMicrotask(); } catch (e) { print(e.name); }
  try { queueMicrotask('x'); } catch (e) { print(e.name); }
  const order = []; await Promise.all([(async () => { order.push('a1'); await null; order.push('a2'); })(), (async () => { order.push('b1'); await null; order.push('b2'); })()]); print(order);
};
