import { DurableObject, RpcTarget, RpcStub } from "cloudflare:workers";
class Box extends RpcTarget { constructor(v) { super(); this.v = v; } get() { return this.v; } get value() { return this.v; } }
export class Obj extends DurableObject {
  async call(f, ...args) { return f(...args); }
  async method(t) { return [await t.get(), await t.value, typeof t, t instanceof RpcStub, String(t)]; }
  async throws(f) { try { await f(); return 'no'; } catch (e) { return [e.name, e.message, e.k, e.remote]; } }
  async lets(f) { return await f(); }
  give(x) { return x; }
  async many(f, n) { const all = []; for (let i = 0; i < n; i++) all.push(f(i)); return Promise.all(all); }
  async write(f) { await this.ctx.storage.put('k', 1); const seen = await f(); await this.ctx.storage.put('k', 2); return [seen, await this.ctx.storage.get('k')]; }
  read() { return this.ctx.storage.get('k'); }
  async blocked(f) { return this.ctx.blockConcurrencyWhile(async () => { const a = await f(1); const b = await f(2); return [a, b]; }); }
  async reenter(f) { this.n = 1; const r = await f(); return [r, this.n]; }
  bump() { return ++this.n; }
}
export default async (print, env) => {
  const o = env.Obj.getByName('a'), other = env.Obj.getByName('b');
  const seen = [];
  print(await o.call((a, b) => { seen.push([a, b]); return a + b; }, 1, 2), seen);
  print(await o.call(async (x) => ({ x }), 3), await o.call(() => undefined));
  print(await o.method(new Box('argument')));
  print(await o.throws(() => { throw Object.assign(new SyntaxError('thrown'), { k: 1 }); }));
  try { await o.lets(() => { throw new RangeError('through'); }); } catch (e) { print(e.name, e.message, e.remote); }
  const f = () => 9, back = await o.give(f);
  print(back === f, await back());
  print(await o.many((i) => i * i, 20));
  print(await o.write(() => 'called'), await o.read());
  print(await o.blocked((i) => i * 10));
  print(await o.reenter(() => o.bump()));
  const box = await o.give(new Box('passed on'));
  print(await other.method(box));
  print(await o.call(async (g) => [await g(2), await g(3)], (x) => x * 2));
  const local = new RpcStub(new Box('local')), fn = new RpcStub((a) => a + 1);
  print(await local.get(), await local.value, typeof local, await fn(1), await other.method(local));
  print((await o.give({ m: new Map([['f', () => 1]]), list: [() => 2] })) && 'nested');
  const stub = await o.give(env.Obj.getByName('c'));
  print(await stub.give(4));
  for (const bad of [Promise.resolve(1), new URL('http://x/'), Symbol('s'), o.call]) try { await o.give(bad); print('given'); } catch (e) { print(e.name); }
};
