export default async (print) => {
  let pulls = 0;
  const s = new ReadableStream({ pull(c) { pulls++; c.enqueue('x'); } }, { highWaterMark: 3 });
  await new Promise((r) => setTimeout(r, 5));
  const r = s.getReader(); await r.read(); await new Promise((k) => setTimeout(k, 5)); print(pulls);
};
