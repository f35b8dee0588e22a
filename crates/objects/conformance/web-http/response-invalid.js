export default (print) => {
  for (const f of [() => new Response('', { status: 199 }), () => new Response('', { status: 600 }), () => new Response('x', { status: 204 }), () => new Response('x', { status: 304 }), () => new Response(null, { status: 204 }),
    () => new Response('', { status: 204 }), () => new Response('', { statusText: 'a\nb' }), () => new Response('', { headers: { 'a b': '1' } }), () => new Response(null, { status: 101 }), () => new Response('', { status: 'x' }),
    () => new Response('', 5)]) { try { print('fine', f().status); } catch (e) { print(e.name); } }
};
