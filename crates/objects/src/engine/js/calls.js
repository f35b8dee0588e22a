// Requests and RPC to the outside, and their answers.
const { p } = core;
const waiting = new p.Map();
const take = (number) => { const entry = p.MapGet(waiting, number); p.MapDelete(waiting, number); return entry; };
core.on.response = (number, status, statusText, headers, body, more) => {
  const entry = take(number);
  if (entry === undefined) return;
  let webSocket = null, { url } = entry, redirected = false;
  if (more !== undefined) {
    if (more[0] !== null) webSocket = core.load('websocket').received(more[0]);
    if (more[1] !== '') url = more[1];
    redirected = more[2];
  }
  entry.resolve(core.load('http').makeResponse(status, statusText, headers, core.bodyIn(body), webSocket, url, redirected));
};
core.on.value = (number, bytes, stubs) => {
  const entry = take(number);
  if (entry === undefined) {
    if (stubs !== undefined) for (let i = 0; i < stubs.length; i++) ops.dropStub(stubs[i]);
    return;
  }
  const { decode, owned, newMine } = core.load('rpc'), mine = newMine();
  try { entry.resolve(owned(decode(bytes, stubs, mine), mine)); } catch (error) { entry.reject(error); }
};
core.on.callFailed = (number, problem) => {
  const entry = take(number);
  if (entry === undefined) return;
  const error = core.errorOf(problem);
  // A stub whose object was reset is of no more use: whoever goes on makes another.
  if (entry.target !== null && problem[7]) entry.target[3] = error;
  // It never arrived: nobody will dispose of what it gave.
  if (entry.stubs !== undefined && !problem[4]) for (let i = 0; i < entry.stubs.length; i++) core.load('rpc').takeBack(entry.stubs[i]);
  entry.reject(error);
};

const wait = (number, url, target, stubs) => {
  const entry = p.withResolvers();
  entry.url = url;
  entry.target = target;
  entry.stubs = stubs;
  p.MapSet(waiting, number, entry);
  return entry.promise;
};
/** What a call or a result that cannot leave would have given is taken back. */
const giving = core.giving = (stubs, call) => {
  try { return call(); } catch (error) {
    for (let i = 0; i < stubs.length; i++) core.load('rpc').takeBack(stubs[i]);
    throw error;
  }
};
core.rpc = (target, path, args) => {
  try {
    if (target[3] !== null) throw target[3];
    if (args === null) return wait(ops.callRpc(target, path, null, undefined), '', target, undefined);
    const { bytes, stubs } = core.load('rpc').encode(args);
    return wait(stubs === undefined ? ops.callRpc(target, path, bytes, undefined) : giving(stubs, () => ops.callRpc(target, path, bytes, stubs)), '', target, stubs);
  } catch (error) { return p.promiseReject(error); }
};
core.callStub = (number, path, args) => {
  try {
    if (args === null) return wait(ops.callStub(number, path, null, undefined), '', null, undefined);
    const { bytes, stubs } = core.load('rpc').encode(args);
    return wait(stubs === undefined ? ops.callStub(number, path, bytes, undefined) : giving(stubs, () => ops.callStub(number, path, bytes, stubs)), '', null, stubs);
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
    const body = core.bodyOut(http.takeBody(parts), undefined);
    const number = target === null
      ? ops.callInternet(parts.method, url, http.headerText(parts), body, length, parts.redirect)
      : ops.callFetch(target, parts.method, url, http.headerText(parts), body, length);
    const promise = wait(number, url, target, undefined);
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
