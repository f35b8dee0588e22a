export default (print) => {
  for (const v of [undefined, null, true, false, 0, -0, 1, -1, 1.5, NaN, Infinity, 2 ** 31, -(2 ** 31), 2 ** 53, '', 'text', 'é😀', 0n, -123456789012345678901234567890n]) print(structuredClone(v));
  print(structuredClone('a\ud800b').length, structuredClone('a\ud800b').charCodeAt(1));
};
