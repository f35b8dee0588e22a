export default (print) => {
  for (const f of [() => new Request('/relative'), () => new Request('http://x', { method: 'a b' }), () => new Request('http://x', { body: 'x' }), () => new Request('http://x', { method: 'HEAD', body: 'x' }),
    () => new Request('http://x', { redirect: 'error' }), () => new Request('http://x', { redirect: 'zzz' }), () => new Request(), () => new Request('http://x', { signal: {} }),
    () => new Request('http://x', { headers: { 'a b': '1' } }), () => new Request('http://x', { method: 'POST', body: null })]) { try { const r = f(); print('fine', r.method); } catch (e) { print(e.name); } }
};
