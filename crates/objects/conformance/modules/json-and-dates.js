export default (print) => {
  print(JSON.stringify({ a: [1, { b: undefined, c: null }], d: new Date(0), e: NaN }), JSON.parse('{"x":[1,2,{"y":"z"}]}'), JSON.stringify('\u2028\ud800'), JSON.stringify({ a: 1, b: [2] }, null, 1));
  try { JSON.parse('{bad'); } catch (e) { print(e.name); } const c = {}; c.c = c; try { JSON.stringify(c); } catch (e) { print(e.name); }
  const d = new Date(Date.UTC(2024, 1, 29, 12, 30, 45, 678)); print(d.toISOString(), d.getTime(), d.getUTCDay(), new Date('2024-02-30').getTime(), new Date('2024-03-01T00:00:00Z').getTime(), new Date(NaN).getTime(), d.toJSON());
  print((1234.5678).toFixed(2), (255).toString(16), parseInt('12px'), Number(''), Number('0x10'), 0.1 + 0.2, 1e21, (25).toString(36), Number.MAX_SAFE_INTEGER, -7 % 3, 7 / 0);
};
