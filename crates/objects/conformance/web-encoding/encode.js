export default (print) => {
  const e = new TextEncoder();
  print(e.encoding, [...e.encode('aé€😀')], [...e.encode('\ud83d')], [...e.encode('x\udc00y')], [...e.encode()], [...e.encode(undefined)], [...e.encode(null)]);
  print(e.encode('abc') instanceof Uint8Array, e.encode('abc').constructor.name);
};
