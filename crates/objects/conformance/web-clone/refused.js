export default (print) => {
  for (const [n, v] of [['function', () => 1], ['symbol', Symbol('s')], ['weakmap', new WeakMap()], ['weakset', new WeakSet()], ['promise', Promise.resolve()], ['nested', { a: [() => 1] }], ['headers', new Headers()],
    ['generator', (function* () {})()], ['proxy', new Proxy({}, {})]]) { try { structuredClone(v); print(n, 'fine'); } catch (e) { print(n, e.name, e instanceof DOMException, e.code); } }
  try { structuredClone(); } catch (e) { print(e.name); }
};
