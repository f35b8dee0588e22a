export default (print) => {
  const u = new URL('http://x/?a=1');
  const p = u.searchParams;
  print(p === u.searchParams);
  p.append('b', '2 3'); print(u.href);
  u.search = '?c=4'; print([...p], p === u.searchParams);
  p.delete('c'); print(u.href, u.search === '');
  u.href = 'http://y/?z=9#h'; print([...p]);
  p.set('z', '1'); print(u.href);
};
