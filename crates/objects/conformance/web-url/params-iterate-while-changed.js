export default (print) => {
  const p = new URLSearchParams('a=1&b=2&c=3');
  const seen = [];
  for (const [k] of p) { seen.push(k); if (k === 'a') p.append('d', '4'); if (seen.length > 9) break; }
  print(seen);
  const it = p[Symbol.iterator]();
  const first = it.next(); print(first.value, first.done, typeof it[Symbol.iterator], Object.prototype.toString.call(p));
};
