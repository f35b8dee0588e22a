// Values of RPC, and what is called in them.
const { p } = core;
const { rpcBytes, rpcStubs, chunk: largest } = ops.limits;
const { Symbol } = p;
const { RpcTarget } = core.classes;
const { handleOf, stubOf, dispose, dup, isUnsettled } = core.load('stubs');
const http = () => core.ifLoaded('http');

// --- what this realm gives others to call ---
const given = new p.Map();
/** What came and was given in an event of the entry worker ends with it. A call that comes back belongs to the event that gave. */
const byEvent = new p.Map();
const ofEvent = () => {
  const event = core.instance === null ? core.event() : null;
  if (event === null) return null;
  let all = p.MapGet(byEvent, event);
  if (all === undefined) { all = { event, given: [], held: [] }; p.MapSet(byEvent, event, all); }
  return all;
};
const give = (target) => {
  const number = ops.newStub(), all = ofEvent();
  p.MapSet(given, number, { target, all });
  if (all !== null) p.ArrayPush(all.given, number);
  return number;
};
/** A target is one of the user's, or leads on to what this realm was given itself, or is a stream's end. */
const letGo = ({ user, forward, gone }) => {
  try {
    if (forward !== undefined) { dispose(forward); return; }
    if (gone !== undefined) { gone(); return; }
    const method = user[Symbol.dispose];
    if (typeof method === 'function') core.then(p.apply(method, user, []), undefined, core.report);
  } catch (error) { core.report(error); }
};
const takeBack = (number) => {
  const gave = p.MapGet(given, number);
  if (gave === undefined) return;
  p.MapDelete(given, number);
  ops.withdrawStub(number);
  letGo(gave.target);
};
core.on.stubDropped = (number) => {
  const gave = p.MapGet(given, number);
  if (gave === undefined) return;
  p.MapDelete(given, number);
  letGo(gave.target);
};
core.eventOver = (event) => {
  const all = p.MapGet(byEvent, event);
  if (all === undefined) return;
  p.MapDelete(byEvent, event);
  if (all.event !== event) return;
  for (let i = 0; i < all.held.length; i++) all.held[i].end();
  for (let i = 0; i < all.given.length; i++) takeBack(all.given[i]);
};

// --- what others give this realm to call ---
const USED = 'RPC stub used after being disposed.';
/** Of somewhere else: `refs` handles call it. It is let go of when nothing leads to the hook, too: a stream is nobody's to dispose of. */
const held = (number) => {
  const hook = {
    refs: 1, over: false, handle: ops.stubHandle(number),
    call: (path, args) => (hook.over ? p.promiseReject(new p.Error(USED)) : core.callStub(number, path, args)),
    end: () => { if (!hook.over) { hook.over = true; ops.dropStub(number); } },
  };
  const all = ofEvent();
  if (all !== null) p.ArrayPush(all.held, hook);
  return hook;
};
/** Of this very realm: what is passed is copied all the same. */
const here = (target) => {
  // Who reads or writes it is within the same event.
  if (p.ObjectHasOwnProperty(target, 'stays')) target.stays();
  const hook = {
    refs: 1, over: false,
    call: (path, args) => (hook.over ? p.promiseReject(new p.Error(USED)) : loop(() => target, path, args)),
    end: () => { if (!hook.over) { hook.over = true; letGo(target); } },
  };
  return hook;
};

// --- values to bytes ---
const notCloned = (value) => {
  const name = typeof value === 'function' ? 'Function' : core.usv(value.constructor?.name ?? 'Object');
  return new p.DOMException(`Could not serialize object of type "${name}". This type does not support serialization.`, 'DataCloneError');
};
// What is being written: each value that is no data, and what of them is called.
let writing = null;
const called = (make) => {
  if (writing.targets.length >= rpcStubs) throw new p.TypeError(`more than ${rpcStubs} functions, RpcTargets and streams in one RPC call`);
  return p.ArrayPush(writing.targets, make()) - 1;
};
const bodyOf = (parts) => {
  const body = http().takeBody(parts);
  return body === null || typeof body === 'string' || p.isView(body) ? body : called(() => core.load('rpc_streams').source(body));
};
/** How the value is told to the other side; null if there is no way to. */
const describe = (value) => {
  if (typeof value === 'function') {
    if (isUnsettled(value)) throw notCloned({ constructor: { name: isUnsettled(value) } });
    const handle = handleOf(value);
    return ['stub', called(() => (handle === null ? { user: value } : { forward: dup(handle) }))];
  }
  if (value instanceof RpcTarget) return ['stub', called(() => ({ user: value }))];
  const place = core.ifLoaded('namespace')?.placeOf(value) ?? null;
  if (place !== null) return ['object', place];
  const entry = core.ifLoaded('entrypoints')?.nameOf(value) ?? null;
  if (entry !== null) return ['entry', entry];
  if (!core.isPlatform(value)) return null;
  if (core.ifLoaded('streams')?.state(value) != null) return ['readable', called(() => core.load('rpc_streams').source(value))];
  if (core.ifLoaded('writable')?.writableState(value) != null) return ['writable', called(() => core.load('rpc_streams').sink(value))];
  if (core.ifLoaded('headers')?.isHeaders(value)) return ['headers', core.load('headers').textOf(value)];
  const parts = http()?.partsOf(value) ?? null;
  if (parts !== null) {
    if (parts.method !== undefined) return ['request', parts.method, parts.url, http().headerText(parts), bodyOf(parts), parts.redirect];
    if (parts.webSocket !== null && parts.webSocket !== undefined) throw new p.TypeError('a Response with a WebSocket cannot be passed by RPC');
    return ['response', parts.status, parts.statusText ?? '', http().headerText(parts), bodyOf(parts)];
  }
  const bytes = core.ifLoaded('blob')?.bytesOf(value) ?? null;
  return bytes === null ? null : ['blob', p.TypedSlice(bytes), value.type];
};
const external = (value) => {
  writing ??= { values: [], targets: [] };
  const described = describe(value);
  if (described === null) throw notCloned(value);
  return p.ArrayPush(writing.values, described) - 1;
};
const tooLong = (bytes) => new p.Error(`Serialized RPC arguments or return values are limited to ${rpcBytes} bytes, but the size of this value was: ${bytes} bytes.`);
// Bytes of a value in which something is no data: 0, the length of the value, it, and how the rest is told.
const HEAD = 5;
const joined = (value, values) => {
  const rest = core.clone.encode(values);
  const bytes = new p.Uint8Array(HEAD + value.length + rest.length);
  const head = new p.DataView(p.typedBuffer(bytes));
  p.ViewSetUint32(head, 1, value.length);
  p.TypedSet(bytes, value, HEAD);
  p.TypedSet(bytes, rest, HEAD + value.length);
  return bytes;
};
/** The bytes, and targets by their place; `targets` is null for mere data. */
const write = (value) => {
  const before = writing;
  writing = null;
  try {
    const bytes = core.clone.encode(value, external);
    if (writing === null) return { bytes, targets: null };
    return { bytes: joined(bytes, writing.values), targets: writing.targets };
  } catch (error) {
    if (writing !== null) for (let i = 0; i < writing.targets.length; i++) letGo(writing.targets[i]);
    throw error;
  } finally {
    writing = before;
  }
};
/** What `ops` take for it. */
const encode = (value) => {
  const { bytes, targets } = write(value);
  if (targets === null) {
    if (bytes.length > rpcBytes) throw tooLong(bytes.length);
    return { bytes, stubs: undefined };
  }
  const stubs = [];
  try {
    if (bytes.length > rpcBytes) throw tooLong(bytes.length);
    for (let i = 0; i < targets.length; i++) p.ArrayPush(stubs, give(targets[i]));
  } catch (error) {
    for (let i = 0; i < targets.length; i++) if (i < stubs.length) takeBack(stubs[i]); else letGo(targets[i]);
    throw error;
  }
  return { bytes, stubs };
};

// --- bytes to values ---
/** What comes with a call or a result: handles of what may be disposed of; of streams, which stay with whoever has them, the hooks. */
const newMine = () => ({ handles: null, streams: null, arrived: false });
const streamHook = (at, hookOf, mine) => {
  const hook = hookOf(at);
  p.ArrayPush(mine.streams ??= [], hook);
  return hook;
};
const bodyFrom = (body, hookOf, mine) => (typeof body === 'number' ? core.load('rpc_streams').readable(streamHook(body, hookOf, mine)) : body);
const makers = {
  __proto__: null,
  stub: ([, at], hookOf, mine) => { const handle = { hook: hookOf(at), over: false }; p.ArrayPush(mine.handles ??= [], handle); return stubOf(handle); },
  object: ([, place]) => core.load('namespace').at(place),
  entry: ([, [name, props]]) => core.load('entrypoints').stub(name, props),
  readable: ([, at], hookOf, mine) => core.load('rpc_streams').readable(streamHook(at, hookOf, mine)),
  writable: ([, at], hookOf, mine) => core.load('rpc_streams').writable(streamHook(at, hookOf, mine)),
  headers: ([, text]) => new (core.load('http').Response)(null, { headers: core.load('headers').fromWire(text) }).headers,
  request: ([, method, url, headers, body, redirect], hookOf, mine) => {
    const { makeRequest, partsOf } = core.load('http');
    const request = makeRequest(method, url, headers, bodyFrom(body, hookOf, mine), null);
    const parts = partsOf(request);
    parts.redirect = redirect;
    parts.frozen = false;
    return request;
  },
  response: ([, status, statusText, headers, body], hookOf, mine) => {
    const { makeResponse, partsOf } = core.load('http');
    const response = makeResponse(status, statusText, headers, bodyFrom(body, hookOf, mine), null, '', false);
    partsOf(response).frozen = false;
    return response;
  },
  blob: ([, bytes, type]) => core.load('blob').make(bytes, type),
};
/** `hookOf`: of a target by its place. What comes with the value is added to `mine`. */
const read = (bytes, hookOf, mine) => {
  if (bytes[0] !== 0) return core.clone.decode(bytes);
  const length = p.ViewGetUint32(new p.DataView(p.typedBuffer(bytes), p.typedOffset(bytes), HEAD), 1);
  const values = core.clone.decode(p.TypedSlice(bytes, HEAD + length));
  return core.clone.decode(p.TypedSlice(bytes, HEAD, HEAD + length), (at) => makers[values[at][0]](values[at], hookOf, mine));
};
const disposeAll = ({ handles }) => { if (handles !== null) for (let i = 0; i < handles.length; i++) dispose(handles[i]); };
/** The call is over. Streams that came with it are with whoever was called, if anybody was. */
const callOver = (mine) => {
  disposeAll(mine);
  if (mine.streams !== null && !mine.arrived) for (let i = 0; i < mine.streams.length; i++) mine.streams[i].end();
};
const decode = (bytes, stubs, mine) => {
  if (stubs === undefined) return read(bytes, undefined, mine);
  const hooks = [];
  for (let i = 0; i < stubs.length; i++) p.ArrayPush(hooks, held(stubs[i]));
  return read(bytes, (at) => hooks[at], mine);
};
/** A result: whoever called disposes of what is in it. */
const owned = (value, mine) => {
  if (typeof value === 'object' && value !== null) {
    p.defineProperty(value, Symbol.dispose, { __proto__: null, value: () => disposeAll(mine), writable: true, enumerable: false, configurable: true });
  }
  return value;
};

// --- calls that arrive ---
const RESERVED = { __proto__: null, constructor: 1, fetch: 1, alarm: 1, webSocketMessage: 1, webSocketClose: 1, webSocketError: 1, connect: 1, tail: 1, trace: 1, scheduled: 1, queue: 1, test: 1, dup: 1 };
const missing = (name) => new p.TypeError(`The RPC receiver does not implement the method "${name}".`);
const isClass = (value) => value instanceof RpcTarget || value instanceof core.classes.DurableObject || value instanceof core.classes.WorkerEntrypoint;
/** Of a class only what it declares: neither what an instance happens to have nor what every object has. */
const member = (target, name, first) => {
  if (first && name in RESERVED) throw new p.TypeError(`'${name}' is a reserved method and cannot be called over RPC.`);
  if ((typeof target !== 'object' && typeof target !== 'function') || target === null) throw missing(name);
  if (!first && !isClass(target) && (p.ObjectHasOwnProperty(target, name) || handleOf(target) !== null)) return target[name];
  for (let at = p.getPrototypeOf(target); at !== null && at !== p.objectProto && at !== p.functionProto; at = p.getPrototypeOf(at)) {
    if (p.ObjectHasOwnProperty(at, name)) {
      if (name === 'constructor') break;
      return p.reflectGet(at, name, target);
    }
  }
  throw missing(name);
};
const named = (path) => (path.length === 0 ? '(this)' : p.ArrayJoin(path, '.'));
/** `args`: null reads a property. `whole`: the target itself is a class's. `mine`: what came with the call. */
const perform = async (target, whole, path, args, mine) => {
  let self = undefined, value = target;
  for (let i = 0; i < path.length; i++) {
    self = value;
    value = member(self, path[i], whole && i === 0);
    if (i + 1 < path.length && handleOf(value) === null) value = await value;
  }
  if (args === null) return value;
  if (typeof value !== 'function') throw new p.TypeError(`"${named(path)}" is not a function.`);
  mine.arrived = true;
  return p.apply(value, self, args);
};
const performAt = ({ user, forward, inner }, path, args, mine) => {
  if (forward !== undefined) { mine.arrived = true; return forward.hook.call(path, args); }
  if (inner !== undefined) return p.apply(inner[path[0]], undefined, args);
  return perform(user, isClass(user), path, args, mine);
};
/** A stub that is returned goes to whoever called. */
const giveAway = (value) => { const handle = handleOf(value); if (handle !== null) dispose(handle); };

/** A call within the realm, through copies as if it were elsewhere. */
const loop = async (find, path, args) => {
  const mine = newMine(), results = newMine();
  const pass = (value, to) => {
    const { bytes, targets } = write(value);
    return read(bytes, (at) => here(targets[at]), to);
  };
  try {
    const target = find();
    const result = await performAt(target, path, args === null ? null : pass(args, mine), mine);
    const copy = owned(pass(result, results), results);
    giveAway(result);
    return copy;
  } catch (error) {
    throw core.errorOf(core.problemOf(error, true));
  } finally {
    callOver(mine);
  }
};

return {
  encode, decode, owned, takeBack, loop, newMine,
  /** `new RpcStub(target)` */
  stubFor: (target) => {
    const handle = handleOf(target);
    return stubOf(handle === null ? { hook: here({ user: target }), over: false } : dup(handle));
  },
  /** What an event asks of the object, or of what this realm gave under a number; what it came to, for `ops`. */
  run: async (event, instance, id, path, args, stubs, number) => {
    const mine = newMine();
    try {
      const gave = number === undefined ? undefined : p.MapGet(given, number);
      if (gave !== undefined && gave.all !== null) p.MapSet(byEvent, event, gave.all);
      const list = args === null ? null : decode(args, stubs, mine);
      if (number !== undefined && gave === undefined) throw new p.Error(USED);
      const result = await (number === undefined ? perform(instance, true, path, list, mine) : performAt(gave.target, path, list, mine));
      const sent = encode(result);
      giveAway(result);
      return sent;
    } catch (error) {
      if (id !== null && error instanceof p.Error) p.defineProperty(error, 'durableObjectId', { __proto__: null, value: id, writable: true, enumerable: true, configurable: true });
      throw error;
    } finally {
      callOver(mine);
    }
  },
};
