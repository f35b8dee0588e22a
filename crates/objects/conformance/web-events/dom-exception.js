export default (print) => {
  const e = new DOMException('m', 'AbortError');
  print(e.name, e.message, e.code, e instanceof Error, String(e), new DOMException().name, new DOMException('x').code, DOMException.ABORT_ERR, DOMException.DATA_CLONE_ERR);
  print(new DOMException('', 'DataCloneError').code, new DOMException('', 'TimeoutError').code, new DOMException('', 'Mine').code, Object.prototype.toString.call(e), typeof e.stack);
};
