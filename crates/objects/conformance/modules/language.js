export default async (print) => {
  class A { #x = 1; static s = 2; get x() { return this.#x; } static { A.t = 3; } has(o) { return #x in o; } }
  print(new A().x, A.s, A.t, new A().has(new A()), new A().has({}));
  const { a = 1, ...rest } = { b: 2, c: 3 }; print(a, rest, [..."héé"].length, null ?? 'd', undefined?.x?.y, 2 ** 10, 1_000, `t${a}`);
  let n = null; n ??= 4; n ||= 5; n &&= 6; print(n, [3, 1, 2].toSorted(), [1, 2, 3].at(-1), Object.groupBy([1, 2, 3], (x) => (x % 2 ? 'odd' : 'even')), [1, [2, [3]]].flat(Infinity));
  print('a-b-c'.replaceAll('-', '+'), /(?<y>\d{4})/.exec('in 2024').groups.y, [...'a1b2'.matchAll(/\d/g)].length, 'x'.padStart(3, '.'), Array.from({ length: 3 }, (_, i) => i * i));
  function* g() { const r = yield 1; print('got', r); yield* [2, 3]; } const it = g(); it.next(); print([it.next('r').value, ...it]);
  const out = []; for await (const x of (async function* () { yield 'p'; yield 'q'; })()) out.push(x); print(out, await Promise.allSettled([1, Promise.reject(new Error('e'))]).then((r) => r.map((x) => x.status)), await Promise.any([Promise.reject(1), 2]));
  label: for (const i of [1, 2]) { for (const j of [1, 2]) { if (j === 2) continue label; if (i === 2) break label; print(i, j); } }
  print(new Intl_free().v, typeof WeakRef, typeof BigInt, 10n ** 20n, [1, 2, 3].findLast((x) => x < 3), structuredClone(new Map([[1, 2]])), Object.fromEntries([['k', 'v']]), new Set([1, 2]).union?.(new Set([3])).size ?? 3);
};
class Intl_free { v = 'ok'; }
