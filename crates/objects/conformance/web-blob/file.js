export default async (print) => {
  const f = new File(['abc'], 'a.txt', { type: 'x/y', lastModified: 123 });
  print(f.name, f.type, f.size, f.lastModified, await f.text(), f instanceof Blob, Object.prototype.toString.call(f));
  print(typeof new File([], 'n').lastModified, f.slice(1) instanceof File, await f.slice(1).text());
  try { new File(['x']); } catch (e) { print(e.name); }
};
