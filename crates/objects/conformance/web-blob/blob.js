export default async (print) => {
  const b = new Blob(['ab', new Uint8Array([99]), new Blob(['d']), new Uint8Array([101, 102]).buffer, 7], { type: 'TEXT/Plain' });
  print(b.size, b.type, await b.text(), b instanceof Blob, Object.prototype.toString.call(b));
  print(await b.slice(1, 3).text(), await b.slice(-2).text(), await b.slice(2, -2).text(), b.slice(5, 2).size, b.slice(0, 2, 'a/b').type, b.slice().type === '');
  print([...new Uint8Array(await b.arrayBuffer())], [...await b.bytes()], new Blob().size, new Blob([]).type, new Blob(['x'], { type: 'a\u0080' }).type);
  for (const bad of ['x', 5, {}]) { try { new Blob(bad); print('fine'); } catch (e) { print(e.name); } }
  let n = 0; for await (const c of b.stream()) n += c.length; print(n);
};
