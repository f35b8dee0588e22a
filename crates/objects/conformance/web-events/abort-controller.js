export default (print) => {
  const c = new AbortController(); const s = c.signal;
  print(s.aborted, s.reason, s === c.signal, s instanceof AbortSignal, s instanceof EventTarget);
  const log = []; s.onabort = (e) => log.push('on ' + e.type); s.addEventListener('abort', (e) => log.push('listener ' + (e.target === s)));
  s.throwIfAborted(); c.abort(); c.abort('again');
  print(s.aborted, s.reason.name, s.reason instanceof DOMException, log);
  try { s.throwIfAborted(); } catch (e) { print(e.name, e === s.reason); }
  const d = new AbortController(); d.abort('why'); print(d.signal.reason);
  print(AbortSignal.abort().reason.name, AbortSignal.abort(5).reason);
  try { new AbortSignal(); } catch (e) { print(e.name); }
};
