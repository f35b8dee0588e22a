export default (print) => {
  const v = { a: [1, [2, { b: 3 }]], m: new Map([['k', { x: 1 }], [{ key: 1 }, 'v']]), s: new Set([1, 'two', [3]]), d: new Date(1234), r: /a(b)+/giu, e: {} };
  const c = structuredClone(v);
  print(c, c !== v, c.a !== v.a, c.r.lastIndex, c.r.flags);
  print([...c.m.keys()][1], c.m.size, c.s.size);
  const sparse = [1, , 3]; sparse.extra = 'x'; const sc = structuredClone(sparse); print(sc.length, 1 in sc, sc.extra);
  const a = [1, 2]; a.named = true; print(Object.keys(structuredClone(a)));
  print(structuredClone(new Date(NaN)).getTime(), Object.keys(structuredClone({ b: 1, a: 2, 1: 'x' })));
};
