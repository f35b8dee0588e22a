export default (print) => {
  const base = 'http://a/b/c/d;p?q#f';
  for (const r of ['g', './g', 'g/', '/g', '//g', '?y', 'g?y', '#s', 'g#s', ';x', 'g;x', '', '.', './', '..', '../', '../g', '../..', '../../g', '../../../g',
    '/./g', '/../g', 'g.', '.g', './../g', 'g/../h', 'http:g', 'mailto:x', '%2e%2e/g']) print(r, '->', new URL(r, base).href);
  try { new URL('/x'); } catch (e) { print(e.name); }
  try { new URL('x', 'mailto:a'); } catch (e) { print(e.name); }
};
