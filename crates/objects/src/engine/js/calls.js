// Requests and RPC to the outside, and their answers.
const { p } = core;
const waiting = new p.Map();
const take = (number) => { const entry = p.MapGet(waiting, number); p.MapDelete(waiting, number); return entry; };
core.on.response = (number, [status, statusText, headers, body, socket, url, redirected]) => {
  const entry = take(number);
  if (entry === undefined) return;
  const webSocket = socket === null ? null : core.load('websocket').received(socket);
  body = typeof body === 'number' ? core.load('bodies').receive(body) : body;
  entry.resolve(core.makeResponse({ status, statusText: statusText === '' ? null : statusText, headers, body, webSocket, url: url === '' ? entry.url : url, redirected }));
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
    const Request = core.load('http').Request;
    const parts = core.readRequest(new Request(input, init));
    const { signal } = parts;
    const signals = signal === null ? null : core.load('events').signals;
    if (signals !== null && signal.aborted) throw signal.reason;
    const body = parts.body === null ? null : core.load('bodies').send(parts.body, core.event);
    const request = [parts.method, parts.url, parts.headers, body, parts.length ?? null, parts.redirect ?? null];
    const number = target === null ? ops.callInternet(request) : ops.callFetch(target, request);
    const promise = wait(number, parts.url, target);
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
