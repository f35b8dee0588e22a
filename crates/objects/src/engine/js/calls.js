// Requests and RPC to the outside, and their answers.
const { p } = core;
const NO_MORE = [null, '', false];
const waiting = new p.Map();
const take = (number) => { const entry = p.MapGet(waiting, number); p.MapDelete(waiting, number); return entry; };
core.on.response = (number, status, statusText, headers, body, more) => {
  const entry = take(number);
  if (entry === undefined) return;
  const [socket, url, redirected] = more ?? NO_MORE;
  const webSocket = socket === null ? null : core.load('websocket').received(socket);
  entry.resolve(core.load('http').makeResponse(status, statusText, headers, core.bodyIn(body), webSocket, url === '' ? entry.url : url, redirected));
};
core.on.value = (number, bytes) => {
  const entry = take(number);
  if (entry === undefined) return;
  try { entry.resolve(core.load('rpc').decode(bytes)); } catch (error) { entry.reject(error); }
};
core.on.callFailed = (number, problem) => {
  const entry = take(number);
  if (entry === undefined) return;
  const error = core.errorOf(problem);
  // A stub whose object was reset is of no more use: whoever goes on makes another.
  if (entry.target !== null && problem[7]) entry.target[3] = error;
  entry.reject(error);
};

const wait = (number, url, target) => {
  const { promise, resolve, reject } = p.withResolvers();
  p.MapSet(waiting, number, { resolve, reject, url, target });
  return promise;
};
core.rpc = (target, path, args) => {
  try {
    if (target[3] !== null) throw target[3];
    return wait(ops.callRpc(target, path, args === null ? null : core.load('rpc').encode(args)), '', target);
  } catch (error) { return p.promiseReject(error); }
};
/** `target`: `null` for the network. */
core.fetch = (target, input, init) => {
  try {
    if (target !== null && target[3] !== null) throw target[3];
    const http = core.load('http');
    const parts = http.toSend(input, init);
    const { signal } = parts;
    const signals = signal === null ? null : core.load('events').signals;
    if (signals !== null && signal.aborted) throw signal.reason;
    const length = http.lengthOf(parts.body), url = http.withoutHash(parts.url);
    const body = core.bodyOut(http.takeBody(parts.body), core.event);
    const number = target === null
      ? ops.callInternet(parts.method, url, http.headerText(parts), body, length, parts.redirect)
      : ops.callFetch(target, parts.method, url, http.headerText(parts), body, length);
    const promise = wait(number, url, target);
    if (signals !== null) {
      signals.onAbort(signal, (reason) => {
        const entry = take(number);
        if (entry !== undefined) { ops.cancelCall(number); entry.reject(reason); }
      });
    }
    return promise;
  } catch (error) { return p.promiseReject(error); }
};
core.define('fetch', { fetch(input, init = undefined) { return core.fetch(null, input, init); } }.fetch);
