export default (print) => {
  const e = new TextEncoder();
  for (const [text, size] of [['hello', 10], ['hello', 3], ['é€😀', 9], ['é€😀', 4], ['é€😀', 8], ['😀', 3], ['', 2], ['\ud800a', 4]]) {
    const out = new Uint8Array(size);
    print(text.length, size, e.encodeInto(text, out), [...out]);
  }
  try { e.encodeInto('a', new Uint16Array(2)); } catch (err) { print(err.name); }
};
