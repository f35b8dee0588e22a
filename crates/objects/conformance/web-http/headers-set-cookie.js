export default (print) => {
  const h = new Headers();
  h.append('Set-Cookie', 'a=1'); h.append('Set-Cookie', 'b=2; Path=/'); h.append('accept', 'x'); h.append('accept', 'y');
  print(h.getSetCookie(), h.get('set-cookie'), [...h]);
  h.set('set-cookie', 'c=3'); print(h.getSetCookie());
  print(new Headers().getSetCookie());
};
