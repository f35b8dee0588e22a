export default (print) => {
  const a = new AbortController(), b = new AbortController();
  const any = AbortSignal.any([a.signal, b.signal]); let n = 0; any.addEventListener('abort', () => n++);
  b.abort('b'); a.abort('a'); print(any.aborted, any.reason, n);
  print(AbortSignal.any([AbortSignal.abort('x'), a.signal]).reason, AbortSignal.any([]).aborted);
};
