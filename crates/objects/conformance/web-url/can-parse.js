export default (print) => {
  print(URL.canParse('http://a'), URL.canParse('/a'), URL.canParse('/a', 'http://b'), URL.parse('http://a/b')?.href, URL.parse('zzz'), URL.parse('x', 'http://q/')?.href);
  print(JSON.stringify({ u: new URL('http://j') }), `${new URL('http://s')}`, Object.prototype.toString.call(new URL('http://t')));
};
