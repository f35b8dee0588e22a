export default async (print) => {
  let release; const w = new WritableStream({ write() { return new Promise((r) => { release = r; }); } }, new CountQueuingStrategy({ highWaterMark: 2 }));
  const k = w.getWriter(); await k.ready; print(k.desiredSize); k.write(1); print(k.desiredSize); k.write(2); print(k.desiredSize);
  let ready = false; k.ready.then(() => { ready = true; }); await new Promise((r) => setTimeout(r, 2)); print(ready); release(); await new Promise((r) => setTimeout(r, 2)); print(ready, k.desiredSize);
};
