export default (print) => {
  const t = new EventTarget();
  const log = [];
  const f = (e) => log.push(`f ${e.type} ${e.target === t} ${e.currentTarget === t} ${e.eventPhase}`);
  t.addEventListener('a', f); t.addEventListener('a', f); t.addEventListener('a', { handleEvent(e) { log.push(`object ${this === e.target}`); } });
  t.addEventListener('a', () => log.push('once'), { once: true });
  print(t.dispatchEvent(new Event('a')), t.dispatchEvent(new Event('a')), t.dispatchEvent(new Event('other')));
  t.removeEventListener('a', f); t.dispatchEvent(new Event('a'));
  print(log);
  t.addEventListener('c', (e) => e.preventDefault());
  print(t.dispatchEvent(new Event('c', { cancelable: true })), t.dispatchEvent(new Event('c')));
};
