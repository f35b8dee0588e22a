export default (print) => {
  try { structuredClone({ get x() { throw new RangeError('mine'); } }); } catch (e) { print(e.name, e.message); }
  const deep = []; let at = deep; for (let i = 0; i < 100; i++) { const n = []; at.push(n); at = n; }
  let d = structuredClone(deep), n = 0; while (d.length) { d = d[0]; n++; } print(n);
};
