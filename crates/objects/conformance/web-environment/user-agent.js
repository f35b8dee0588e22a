export default (print) => {
  print(navigator.userAgent, typeof performance.now(), performance.timeOrigin, typeof Date.now(), self === globalThis);
};
