export default (print) => {
  const a = new URLPattern({ pathname: '/books/:id' }); print(a.test('https://example.com/books/123'), a.test('https://example.com/books/'), a.exec('https://example.com/books/123').pathname.groups, a.pathname, a.hostname);
  const b = new URLPattern('https://*.example.com/:kind/*'); print(b.test('https://a.example.com/x/y/z'), b.test('http://a.example.com/x/y'), b.exec('https://a.example.com/x/y/z').pathname.groups, b.exec('https://a.example.com/x/y').hostname.groups);
  const c = new URLPattern('/p/:n(\\d+){.html}?', 'https://x.org'); print(c.test('https://x.org/p/5'), c.test('https://x.org/p/5.html'), c.test('https://x.org/p/a'), c.hasRegExpGroups, c.protocol, c.hostname);
  print(new URLPattern({ pathname: '/A' }, { ignoreCase: true }).test('http://h/a'), new URLPattern({ search: 'q=*' }).test('http://h/?q=1'), new URLPattern({ hash: 'top' }).test('http://h/#top'), new URLPattern().test('http://any/thing'));
  const d = new URLPattern({ pathname: '/a/:rest*' }); print(d.test('http://h/a'), d.test('http://h/a/b/c'), d.exec('http://h/a/b/c').pathname.groups);
  for (const bad of ['/only-path', '(']) try { new URLPattern(bad); print('fine'); } catch (e) { print(e.name); }
  try { new URLPattern({ pathname: '/:a/:a' }); print('fine'); } catch (e) { print(e.name); } print(new URLPattern({ pathname: '/x' }).test('not a url'), new URLPattern({ pathname: '/x' }).exec('http://h/y'));
};
