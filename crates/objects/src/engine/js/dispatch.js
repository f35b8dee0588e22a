// Events, to the code of the user and back.
const { p } = core;
let exported = null, entry = null, Entry = null, id = null;
const bodies = () => core.load('bodies');
core.instance = null;
core.instanceHas = (name) => core.instance === null || typeof core.instance[name] === 'function';
core.lazy(['WebSocket', 'WebSocketPair', 'WebSocketRequestResponsePair'], 'websocket');

const extend = (C, Base) => {
  for (let at = C; at !== null && at !== p.functionProto; at = p.getPrototypeOf(at)) if (at === Base) return true;
  return false;
};
core.extend = extend;
core.on.start = (exports, name, text, objectName, held, auto) => {
  exported = core.exported = exports;
  id = text;
  const Class = exports[name];
  if (typeof Class !== 'function') throw new p.TypeError(`The main module exports no class ${name}.`);
  if (held.length > 0 || auto) core.load('websocket').restore(held, auto);
  core.rpcAllowed = extend(Class, core.classes.DurableObject);
  core.instance = new Class(core.load('state').object(core.load('ids').make(id, objectName ?? undefined, null)), core.env);
};
core.on.startEntry = (exports) => {
  exported = core.exported = exports;
  const value = exports.default;
  if (typeof value === 'function' && extend(value, core.classes.WorkerEntrypoint)) Entry = value;
  else entry = value;
};
core.on.exports = () => {
  const classes = [], handlers = [];
  const names = p.ownKeys(exported);
  for (let i = 0; i < names.length; i++) {
    const value = exported[names[i]];
    if (typeof names[i] === 'string' && names[i] !== 'default' && typeof value === 'function' && value.prototype !== undefined) {
      p.ArrayPush(classes, [names[i], extend(value, core.classes.DurableObject)]);
    }
  }
  const of = Entry === null ? entry : Entry.prototype;
  if (typeof of === 'object' && of !== null) {
    for (const name of ['fetch', 'scheduled', 'queue', 'tail']) if (typeof of[name] === 'function') p.ArrayPush(handlers, name);
  }
  return [classes, handlers];
};

const { wholeBody } = ops.limits;
/** What `ops` take for a body, that of most messages as it is. */
core.bodyOut = (body, event) => {
  const whole = body === null || (typeof body === 'string' ? body.length * 3 <= wholeBody : p.isView(body) && body.length <= wholeBody);
  return whole ? body : bodies().send(body, event);
};
core.bodyIn = (body) => (typeof body === 'number' ? bodies().receive(body) : body);
const NO_FETCH = 'Handler does not export a fetch() function.';
/** Calls the user's handler, which may give a response or a promise of one. */
const answerFetch = (request, event) => {
  if (core.instance !== null) {
    if (typeof core.instance.fetch !== 'function') throw new p.TypeError(NO_FETCH);
    return core.instance.fetch(request);
  }
  const ctx = core.load('state').entry(undefined, event);
  if (Entry !== null) {
    const instance = new Entry(ctx, core.env);
    if (typeof instance.fetch !== 'function') throw new p.TypeError(NO_FETCH);
    return instance.fetch(request);
  }
  if (typeof entry?.fetch !== 'function') throw new p.TypeError(NO_FETCH);
  return entry.fetch(request, core.env, ctx);
};
const respond = (event, response) => {
  const http = core.load('http'), parts = http.partsOf(response);
  if (parts === null || parts.status === undefined) throw new p.TypeError("Incorrect type for Promise: the Promise did not resolve to 'Response'.");
  const { webSocket } = parts, length = http.lengthOf(parts.body);
  const given = http.takeBody(parts);
  const socket = webSocket === null ? null : core.load('websocket').leave(webSocket);
  const body = core.bodyOut(given, event);
  const more = length === null && socket === null ? undefined : [length ?? undefined, socket ?? undefined];
  ops.respond(event, parts.status, parts.statusText ?? '', http.headerText(parts), body, more);
  if (webSocket !== null) core.load('websocket').flush(webSocket);
  return body;
};
/** `number`: of a body that came as a stream. */
const requestOver = (number, stream, sent, what) => {
  core.handled(bodies().over(number, stream, typeof sent === 'number' ? sent : null, `Can't read from request stream after ${what}.`));
};
const fail = (event, error, remote) => {
  ops.failed(event, core.problemOf(error, remote));
};
const aborts = new p.Map();
/** Told when the client has gone. Most code never asks, so it is made when it does. */
core.eventSignal = (event) => {
  let controller = p.MapGet(aborts, event);
  if (controller === undefined) {
    controller = new (core.load('events').AbortController)();
    p.MapSet(aborts, event, controller);
  }
  return controller.signal;
};
core.on.fetch = (event, method, url, headers, body) => {
  runFetch(event, method, url, headers, body);
};
const runFetch = async (event, method, url, headers, body) => {
  let given = null;
  try {
    given = core.bodyIn(body);
    const response = await answerFetch(core.load('http').makeRequest(method, url, headers, given, event), event);
    const sent = respond(event, response);
    if (typeof body === 'number') requestOver(body, given, sent, 'response has been sent');
  } catch (error) {
    if (core.instance === null) core.report(error);
    fail(event, error, core.instance !== null);
    if (typeof body === 'number' && given !== null) requestOver(body, given, null, 'responding with an exception');
  }
  if (aborts.size > 0) p.MapDelete(aborts, event);
  core.finish(event);
};
core.on.cancel = (event) => {
  const controller = p.MapGet(aborts, event);
  p.MapDelete(aborts, event);
  controller?.abort(new p.DOMException('The client disconnected', 'AbortError'));
};
/** `number`: what is called of what this realm gave, if not the object itself. */
core.on.rpc = (event, path, args, stubs, number) => { runRpc(event, path, args, stubs, number); };
const runRpc = async (event, path, args, stubs, number) => {
  try {
    if (number === undefined && !core.rpcAllowed) {
      throw new p.TypeError('The receiving Durable Object does not support RPC, because its class was not declared with `extends DurableObject`. In order to enable RPC, make sure your class extends the special class `DurableObject`, which can be imported from the module "cloudflare:workers".');
    }
    const sent = await core.load('rpc').run(event, core.instance, id, path, args, stubs, number);
    if (sent.stubs === undefined) ops.returned(event, sent.bytes, undefined);
    else core.giving(sent.stubs, () => ops.returned(event, sent.bytes, sent.stubs));
  } catch (error) {
    fail(event, error, true);
  }
  core.finish(event);
};
class AlarmInvocationInfo {
  constructor(retryCount, scheduledTime) { this.retryCount = retryCount; this.isRetry = retryCount > 0; this.scheduledTime = scheduledTime; }
}
core.on.alarm = (event, scheduled, retry) => { runAlarm(event, scheduled, retry); };
const runAlarm = async (event, scheduled, retry) => {
  try {
    if (typeof core.instance.alarm === 'function') await core.instance.alarm(new AlarmInvocationInfo(retry, scheduled));
    ops.alarmRan(event, null);
  } catch (error) {
    core.report(error);
    ops.alarmRan(event, core.problemOf(error, true));
  }
  core.finish(event);
};
core.on.message = (event, socket, data) => { core.load('websocket').message(event, socket, data); };
core.on.closed = (event, socket, code, reason, clean) => { core.load('websocket').closed(event, socket, code, reason, clean); };
core.on.socketFailed = (event, socket, why) => { core.load('websocket').failed(event, socket, why); };
