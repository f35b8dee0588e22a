// ctx: what an object has of its own.
const { p } = core;
const secret = {};
const sections = new p.Map();
/** Runs `run` while nothing else is delivered; what it throws goes to `failed`, which may let it pass on. */
core.section = (run, failed) => {
  const number = ops.askSection();
  const { promise, resolve, reject } = p.withResolvers();
  p.MapSet(sections, number, { run, failed, resolve, reject, value: undefined, error: undefined, threw: false });
  return promise;
};
const perform = async (number, section) => {
  try { section.value = await section.run(); } catch (error) {
    section.threw = true;
    section.error = error;
    section.failed(error);
  }
  ops.endSection(number);
};
core.on.section = (number) => { perform(number, p.MapGet(sections, number)); };
core.on.sectionOver = (number) => {
  const section = p.MapGet(sections, number);
  p.MapDelete(sections, number);
  if (section.threw) section.reject(section.error); else section.resolve(section.value);
};
const resets = (error) => {
  const problem = core.problemOf(error, false);
  problem[4] = false;
  problem[7] = true;
  ops.reset(problem);
};

class DurableObjectState {
  #id; #storage = null;
  constructor(given, id) { if (given !== secret) throw core.illegal(); this.#id = id; this.props = {}; }
  get exports() { return core.exports; }
  get id() { return this.#id; }
  get storage() { return this.#storage ??= core.load('storage').open(); }
  waitUntil(promise) { core.waitUntil(promise); }
  blockConcurrencyWhile(callback) {
    if (typeof callback !== 'function') throw new p.TypeError("Failed to execute 'blockConcurrencyWhile' on 'DurableObjectState': parameter 1 is not of type 'Function'.");
    return core.section(callback, resets);
  }
  abort(reason = undefined) {
    resets(new p.Error(reason === undefined ? 'Application called abort() to reset Durable Object.' : `${reason}`));
  }
  acceptWebSocket(socket, tags = []) { core.load('websocket').hibernate(socket, tags); }
  getWebSockets(tag = undefined) { return core.load('websocket').list(tag); }
  getTags(socket) { return core.load('websocket').tags(socket); }
  setWebSocketAutoResponse(pair = undefined) { core.load('websocket').setAutoResponse(pair); }
  getWebSocketAutoResponse() { return core.load('websocket').autoResponse(); }
  getWebSocketAutoResponseTimestamp(socket) { return core.load('websocket').autoResponseTime(socket); }
  setHibernatableWebSocketEventTimeout(ms = undefined) { core.load('websocket').setTimeout(ms); }
  getHibernatableWebSocketEventTimeout() { return core.load('websocket').timeout(); }
}
core.brand(DurableObjectState, 'DurableObjectState');
class ExecutionContext {
  #event;
  constructor(given, props, event) { if (given !== secret) throw core.illegal(); this.props = props; this.#event = event; }
  get exports() { return core.exports; }
  waitUntil(promise) { core.waitUntil(promise, this.#event); }
  passThroughOnException() {}
  abort(reason = undefined) { resets(reason ?? new p.Error('The worker was aborted.')); }
}
core.brand(ExecutionContext, 'ExecutionContext');
return { object: (id) => new DurableObjectState(secret, id), entry: (props = {}, event = undefined) => new ExecutionContext(secret, props, event) };
