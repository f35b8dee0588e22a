export default (print) => {
  class P { constructor() { this.x = 1; } get y() { return 2; } static z = 3; #hidden = 4; }
  const c = structuredClone(new P()); print(c, c instanceof P, Object.getPrototypeOf(c) === Object.prototype);
  print(structuredClone(Object.create({ inherited: 1 }, { own: { value: 2, enumerable: true }, hidden: { value: 3 } })));
  let calls = 0; print(structuredClone({ get g() { calls++; return 'got'; } }), calls);
  print(Object.keys(structuredClone({ [Symbol('s')]: 1, t: 2 })), Object.getPrototypeOf(structuredClone(Object.create(null))) === Object.prototype);
  const o = { get a() { delete this.b; return 1; }, b: 2 }; print(structuredClone(o));
};
