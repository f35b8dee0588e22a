// What "cloudflare:workers" exports, and the bindings.
const { p } = core;
class DurableObject { constructor(ctx, env) { this.ctx = ctx; this.env = env; } }
class WorkerEntrypoint { constructor(ctx, env) { this.ctx = ctx; this.env = env; } }
class RpcTarget {}
core.classes = { __proto__: null, DurableObject, WorkerEntrypoint, RpcTarget };

// Work that an event waits for: what waitUntil was given, and bodies that are sent.
const kept = new p.Map();
core.event = null;
core.keep = (event, promise) => {
  if (event === null) { core.handled(promise); return; }
  const list = p.MapGet(kept, event);
  if (list === undefined) p.MapSet(kept, event, [promise]); else p.ArrayPush(list, promise);
};
/** Ends the event when nothing is left that it waits for. */
core.finish = (event) => {
  const list = p.MapGet(kept, event);
  if (list === undefined) { ops.finished(event); return; }
  p.MapDelete(kept, event);
  finishAfter(event, list);
};
const finishAfter = async (event, list) => {
  for (let i = 0; i < list.length; i++) {
    try { await list[i]; } catch (error) { core.report(error); }
  }
  core.finish(event);
};
core.waitUntil = (promise) => {
  core.keep(core.event, (async () => { await promise; })());
};

const env = core.env = {};
for (const [name, json] of ops.vars()) env[name] = p.parse(json);
const bindings = ops.bindings();
for (let i = 0; i < bindings.length; i++) {
  const name = bindings[i];
  p.defineProperty(env, name, {
    __proto__: null, enumerable: true, configurable: true,
    get() {
      const value = core.load('namespace').open(i);
      p.defineProperty(env, name, { __proto__: null, value, writable: true, enumerable: true, configurable: true });
      return value;
    },
  });
}
core.workers = { DurableObject, WorkerEntrypoint, RpcTarget, env, waitUntil: (promise) => core.waitUntil(promise) };
