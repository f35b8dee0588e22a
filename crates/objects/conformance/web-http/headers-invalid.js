export default (print) => {
  const h = new Headers();
  for (const f of [() => h.set('a b', '1'), () => h.set('a', '1\n2'), () => h.set('a', '\0'), () => h.get('('), () => new Headers([['a']]),
    () => new Headers([['a', 'b', 'c']]), () => new Headers('x'), () => new Headers(1), () => h.set('a')]) { try { f(); print('fine'); } catch (e) { print(e.name); } }
  print(h.get('a'), [...new Headers(undefined)]);
};
