export default (print) => {
  const routes = [['GET', '/users/:id/posts/:post?'], ['GET', '/files/*'], ['GET', '/v:version/items'], ['GET', '/(old|new)/page'], ['GET', '/opt{/:x}?/end']];
  for (const url of ['/users/7/posts', '/users/7/posts/9', '/files/a/b.txt', '/v2/items', '/old/page', '/opt/end', '/opt/1/end', '/nothing']) { const hit = routes.find(([, p]) => new URLPattern({ pathname: p }).test('http://h' + url)); print(url, hit ? hit[1] : 'none', hit ? new URLPattern({ pathname: hit[1] }).exec('http://h' + url).pathname.groups.id : null); }
};
