export default (print) => {
  const h = new Headers({ 'Content-Type': 'text/plain', 'X-A': ' trimmed \t' });
  h.append('x-a', 'two'); h.append('X-b', ''); h.set('X-C', 'é'.normalize());
  print([...h], h.get('X-A'), h.get('none'), h.has('content-TYPE'), h.has('zzz'));
  h.delete('x-a'); print([...h.keys()], [...h.values()]);
  h.forEach((v, k, self) => print(k, v, self === h));
  print(Object.prototype.toString.call(h), [...new Headers([['b', '2'], ['a', '1'], ['b', '3']])], [...new Headers(h)].length);
};
