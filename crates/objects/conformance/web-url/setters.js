export default (print) => {
  const u = new URL('http://user@example.com:8080/path?x=1#h');
  const set = (name, value) => { u[name] = value; print(name, value, '=>', u.href); };
  set('protocol', 'https'); set('protocol', 'ftp:'); set('protocol', 'foo'); set('username', 'a b'); set('password', 'p:@'); set('host', 'other.org:99');
  set('hostname', 'third.net'); set('hostname', ''); set('port', '443'); set('port', 'x'); set('port', '12ab'); set('port', ''); set('pathname', 'no slash/ü');
  set('search', 'q=a b'); set('search', ''); set('hash', 'z z'); set('hash', ''); set('href', 'http://new/');
  try { u.href = 'nope'; } catch (e) { print(e.name, u.href); }
  const m = new URL('mailto:x'); m.host = 'a'; m.pathname = '/b'; m.port = '1'; print(m.href);
};
