export default (print) => {
  const a = crypto.getRandomValues(new Uint8Array(16)); print(a.length, a.some((x) => x !== 0), crypto.getRandomValues(new Uint32Array(2)).length);
  print(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/.test(crypto.randomUUID()), crypto.randomUUID() !== crypto.randomUUID());
  const same = new Uint8Array(4); print(crypto.getRandomValues(same) === same);
  for (const bad of [new Float32Array(1), new Uint8Array(65537), 'x', new DataView(new ArrayBuffer(1))]) try { crypto.getRandomValues(bad); print('fine'); } catch (e) { print(e.name); }
};
