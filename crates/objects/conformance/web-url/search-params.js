export default (print) => {
  const p = new URLSearchParams('?a=1&b=2&a=3&c=%20x+y&d&=e&%zz=1');
  print([...p], p.size, p.get('a'), p.getAll('a'), p.get('none'), p.has('d'), p.has('a', '3'), p.has('a', '4'));
  p.append('a', '4'); p.set('b', 'ü&='); p.delete('c'); p.delete('a', '1');
  print(p.toString());
  p.sort(); print(p.toString());
  p.set('a', 'only'); print(p.toString(), `${p}`);
  print(new URLSearchParams([['x', '1'], ['y', '2']]).toString(), new URLSearchParams({ k: 'v', n: 1 }).toString(), new URLSearchParams(p).toString());
  p.forEach((v, k, self) => print(k, v, self === p));
  print([...p.keys()], [...p.values()], [...p.entries()].length);
  try { new URLSearchParams([['a']]); } catch (e) { print(e.name); }
  try { new URLSearchParams([1]); } catch (e) { print(e.name); }
  print(new URLSearchParams('a=\ud800').toString(), new URLSearchParams('a=b\u0000~*-._').toString());
};
