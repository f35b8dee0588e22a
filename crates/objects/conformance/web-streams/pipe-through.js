export default async (print) => {
  const up = () => new TransformStream({ transform(x, c) { c.enqueue(x.toUpperCase()); } });
  const out = []; for await (const x of ReadableStream.from(['a', 'b']).pipeThrough(up()).pipeThrough(up())) out.push(x); print(out);
  const bytes = ReadableStream.from(['é€', '😀']).pipeThrough(new TextEncoderStream()); let n = 0; for await (const c of bytes) n += c.length; print(n);
  const enc = new TextEncoder().encode('a€😀'); let text = ''; const parts = new ReadableStream({ start(c) { for (const b of enc) c.enqueue(new Uint8Array([b])); c.close(); } });
  for await (const t of parts.pipeThrough(new TextDecoderStream())) text += t; print(text);
};
