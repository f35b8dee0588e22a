export default (print) => {
  const t = new EventTarget(), log = [];
  t.addEventListener('x', (e) => { log.push(1); t.addEventListener('x', () => log.push('late')); });
  t.addEventListener('x', (e) => { log.push(2); e.stopImmediatePropagation(); });
  t.addEventListener('x', () => log.push(3));
  t.dispatchEvent(new Event('x')); print(log);
  const u = new EventTarget(), l = [];
  const second = () => l.push('second');
  u.addEventListener('y', () => { l.push('first'); u.removeEventListener('y', second); }); u.addEventListener('y', second);
  u.dispatchEvent(new Event('y')); print(l);
  const again = new Event('z'); u.addEventListener('z', () => { try { u.dispatchEvent(again); print('fine'); } catch (e) { print(e.name); } });
  u.dispatchEvent(again);
};
