export default async (print) => {
  const c = new AbortController(); let aborted, n = 0;
  const p = new ReadableStream({ async pull(k) { k.enqueue(++n); if (n === 3) c.abort('stop'); await new Promise((r) => setTimeout(r, 1)); } }).pipeTo(new WritableStream({ write() {}, abort(r) { aborted = r; } }), { signal: c.signal });
  try { await p; print('fine'); } catch (e) { print(e, aborted); }
  try { await new ReadableStream().pipeTo(new WritableStream(), { signal: AbortSignal.abort('early') }); } catch (e) { print(e); }
  try { await new ReadableStream().pipeTo({}); } catch (e) { print(e.name); }
};
