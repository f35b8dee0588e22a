// What "cloudflare:workers" exports, and the bindings.
const { p } = core;
const { Proxy } = globalThis;
class DurableObject { constructor(ctx, env) { this.ctx = ctx; this.env = env; } }
class WorkerEntrypoint { constructor(ctx, env) { this.ctx = ctx; this.env = env; } }
class RpcTarget {}
class RpcStub {
  constructor(target) {
    if ((typeof target !== 'object' && typeof target !== 'function') || target === null) throw new p.TypeError('RpcStub needs an RpcTarget or a function');
    return core.load('rpc').stubFor(target);
  }
}
core.brand(RpcStub, 'JsRpcStub');
core.classes = { __proto__: null, DurableObject, WorkerEntrypoint, RpcTarget, RpcStub };
/** Set by what keeps something for the time of an event of the entry worker. */
core.eventOver = null;

// Work that an event waits for: what waitUntil was given, and bodies that are sent.
const kept = new p.Map();
/** `of` as long as it is not over, or else the event that what runs now belongs to; null where that is over. */
core.event = (of = undefined) => ops.event(of) ?? null;
core.keep = (event, promise) => {
  if (event === null) { core.handled(promise); return; }
  const list = p.MapGet(kept, event);
  if (list === undefined) p.MapSet(kept, event, [promise]); else p.ArrayPush(list, promise);
};
/** Ends the event when nothing is left that it waits for. */
core.finish = (event) => {
  const list = p.MapGet(kept, event);
  if (list === undefined) {
    if (core.eventOver !== null) {
      core.eventOver(event);
      // Code of the user that disposes of something may leave more to wait for.
      if (p.MapHas(kept, event)) { core.finish(event); return; }
    }
    ops.finished(event);
    return;
  }
  p.MapDelete(kept, event);
  finishAfter(event, list);
};
const finishAfter = async (event, list) => {
  for (let i = 0; i < list.length; i++) {
    try { await list[i]; } catch (error) { core.report(error); }
  }
  core.finish(event);
};
core.waitUntil = (promise, event = undefined) => {
  core.keep(core.event(event), (async () => { await promise; })());
};

const env = core.env = {};
for (const [name, json] of ops.vars()) env[name] = p.parse(json);
const bindings = ops.bindings();
const late = (name, open) => p.defineProperty(env, name, {
  __proto__: null, enumerable: true, configurable: true,
  get() {
    const value = open();
    p.defineProperty(env, name, { __proto__: null, value, writable: true, enumerable: true, configurable: true });
    return value;
  },
});
for (let i = 0; i < bindings.length; i++) late(bindings[i], () => core.load('namespace').open(i));
for (const [name, of] of ops.services()) late(name, () => core.load('entrypoints').stub(of, {}));
/** `ctx.exports`, for code outside of classes too. */
core.exports = new Proxy({}, {
  __proto__: null,
  get: (_, name) => core.load('entrypoints').all()[name],
  has: (_, name) => name in core.load('entrypoints').all(),
  ownKeys: () => p.ownKeys(core.load('entrypoints').all()),
  getOwnPropertyDescriptor: (_, name) => p.getOwnPropertyDescriptor(core.load('entrypoints').all(), name),
  set: () => false, defineProperty: () => false, deleteProperty: () => false,
});
core.workers = {
  DurableObject, WorkerEntrypoint, RpcTarget, RpcStub, exports: core.exports, env, waitUntil: (promise) => core.waitUntil(promise),
};
