export default (print) => {
  const f = new FormData();
  f.append('a', 1); f.append('b', 'x'); f.append('a', null); f.set('b', 'y'); f.set('c', 'z');
  print([...f], f.get('a'), f.getAll('a'), f.has('b'), f.has('q'), f.get('q'), f.getAll('q'));
  f.delete('a'); print([...f.keys()], [...f.values()]);
  f.set('file', new Blob(['12345']), 'n.txt'); const g = f.get('file'); print(g instanceof File, g.name, g.size, g.type);
  try { f.append('x', 'y', 'name'); print('fine'); } catch (e) { print(e.name); }
  f.forEach((v, k) => print(k)); print(Object.prototype.toString.call(f));
};
