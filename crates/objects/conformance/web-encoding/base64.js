export default (print) => {
  print(btoa('hello'), btoa(''), btoa('\xff\x00'), atob('aGVsbG8='), atob('aGVsbG8'), atob(' a G V s\nbG8 = '), atob('').length);
  for (const bad of ['a', '====', 'ab=c', 'a*b=', 'aGVsbG8==', 'abcde=']) { try { print(bad, atob(bad)); } catch (e) { print(bad, e.name, e.code, e instanceof DOMException); } }
  try { btoa('€'); } catch (e) { print(e.name); }
  print(btoa(null), btoa(undefined), atob('YQ'), [...atob('/+8=')].map((c) => c.charCodeAt(0)));
};
