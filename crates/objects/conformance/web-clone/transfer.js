export default (print) => {
  const b = new Uint8Array([1, 2, 3]).buffer; const c = structuredClone({ b }, { transfer: [b] });
  print(b.byteLength, c.b.byteLength, [...new Uint8Array(c.b)]);
  try { structuredClone(b); print('fine'); } catch (e) { print(e.name); }
  try { structuredClone(1, { transfer: [{}] }); print('fine'); } catch (e) { print(e.name); }
  const v = new Uint16Array([1, 2]); const w = structuredClone(v, { transfer: [v.buffer] }); print(v.length, [...w]);
};
