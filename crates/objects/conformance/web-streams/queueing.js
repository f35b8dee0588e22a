export default async (print) => {
  let pulls = 0;
  const s = new ReadableStream({ pull(c) { pulls++; c.enqueue('x'); } }, { highWaterMark: 3 });
  await new Promise((r) => setTimeout(r, 5)); print(pulls);
  let c0; new ReadableStream({ start(c) { c0 = c; } }, { highWaterMark: 10, size: (x) => x.length }); c0.enqueue('abc'); print(c0.desiredSize);
  print(new CountQueuingStrategy({ highWaterMark: 4 }).highWaterMark, new CountQueuingStrategy({ highWaterMark: 4 }).size('zz'), new ByteLengthQueuingStrategy({ highWaterMark: 5 }).size(new Uint8Array(7)));
};
