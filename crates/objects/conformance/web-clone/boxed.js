export default (print) => {
  for (const v of [Object(1), Object('s'), Object(true), Object(5n)]) { const c = structuredClone(v); print(typeof c, c.valueOf(), Object.prototype.toString.call(c)); }
};
