export default (print) => {
  const d = new TextDecoder();
  const bytes = new TextEncoder().encode('a€😀z');
  let out = '';
  for (const b of bytes) { const part = d.decode(new Uint8Array([b]), { stream: true }); out += part; print(part.length); }
  print(out + d.decode());
  d.decode(new Uint8Array([0xe2]), { stream: true });
  print(d.decode());
  const f = new TextDecoder('utf-8', { fatal: true });
  f.decode(new Uint8Array([0xe2]), { stream: true });
  try { f.decode(); } catch (e) { print(e.name); }
};
