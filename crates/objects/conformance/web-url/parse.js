export default (print) => {
  for (const text of [
    'http://example.com', 'HTTPS://User:Pa%20ss@EXAMPLE.com:443/a/./b/../c?x=1&y=2#frag', 'http://example.com:8080/%7Efoo/ü?ä=ö#ß',
    'http://[2001:DB8::1]:80/', 'http://1.2.3', 'http://0x7f.1/', 'mailto:someone@example.com', 'data:text/plain,hi there', 'blob:https://a.com/x',
    'file:///C:/x/../y', 'http://münchen.de/', 'http://ex ample.com', 'http://', '//x', 'http://a:99999/', 'foo://bar/baz?q#h', ' http://trim.me/ ',
    'http://a/b c?d e#f g', 'http://a\\b\\c', 'http://a/?q=%zz', "http://a/'\"<>`{}|",
  ]) {
    try {
      const u = new URL(text);
      print(u.href, u.origin, u.protocol, u.username, u.password, u.host, u.hostname, u.port, u.pathname, u.search, u.hash);
    } catch (e) { print(text, e.name); }
  }
};
