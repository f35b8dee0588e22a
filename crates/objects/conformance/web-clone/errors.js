export default (print) => {
  for (const e of [new Error('a'), new TypeError('b'), new RangeError('c'), new SyntaxError('d'), new EvalError('e'), new ReferenceError('f'), new URIError('g')]) {
    const c = structuredClone(e); print(c.name, c.message, c instanceof e.constructor, Object.keys(c), typeof c.stack);
  }
  class Mine extends Error { constructor(m) { super(m); this.name = 'Mine'; } }
  const m = structuredClone(new Mine('x')); print(m.name, m.message, m instanceof Error, m.constructor.name);
  print(structuredClone(new Error('with', { cause: { n: 1 } })).cause);
};
