export default (print) => {
  const t = new EventTarget(), c = new AbortController(); let n = 0;
  t.addEventListener('x', () => n++, { signal: c.signal });
  t.dispatchEvent(new Event('x')); c.abort(); t.dispatchEvent(new Event('x')); print(n);
  t.addEventListener('x', () => n++, { signal: AbortSignal.abort() }); t.dispatchEvent(new Event('x')); print(n);
  class Mine extends EventTarget { constructor() { super(); this.n = 0; } ping() { this.dispatchEvent(new CustomEvent('ping', { detail: ++this.n })); } }
  const m = new Mine(); m.addEventListener('ping', (e) => print('ping', e.detail)); m.ping(); m.ping();
};
