export default async (print) => {
  let reason; const t = new ReadableStream({ cancel(r) { reason = r; } }); const [m, n] = t.tee(); const p = m.cancel('1'); await n.cancel('2'); await p; print(reason);
};
