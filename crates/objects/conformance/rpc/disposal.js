import { DurableObject, RpcTarget } from "cloudflare:workers";
class Box extends RpcTarget { constructor(o, v) { super(); this.o = o; this.v = v; } get() { return this.v; } [Symbol.dispose]() { this.o.log.push(`disposed ${this.v}`); } }
export class Obj extends DurableObject {
  log = [];
  box(v) { return new Box(this, v); }
  pair() { return { a: new Box(this, 'a'), b: new Box(this, 'b') }; }
  logs() { return this.log.splice(0); }
  take() { return 'taken'; }
  fails() { throw new Error('not taken'); }
  keep(f) { this.f = f.dup(); }
  keepBadly(f) { this.f = f; }
  use() { return this.f('x'); }
  drop() { this.f[Symbol.dispose](); }
}
export default async (print, env) => {
  const o = env.Obj.getByName('a');
  const gone = async (n) => { let all = []; for (let i = 0; i < 50 && all.length < n; i++) { all = all.concat(await o.logs()); await scheduler.wait(5); } return all; };
  const b = await o.box('one');
  b[Symbol.dispose]();
  try { await b.get(); } catch (e) { print(e.name, e.message); }
  print(await gone(1));
  const c = await o.box('two'), d = c.dup();
  c[Symbol.dispose]();
  c[Symbol.dispose]();
  print(await d.get(), await o.logs());
  d[Symbol.dispose]();
  print(await gone(1));
  const r = await o.pair();
  print(typeof r[Symbol.dispose], Object.keys(r), await r.a.get());
  r[Symbol.dispose]();
  try { await r.b.get(); } catch (e) { print(e.message); }
  print((await gone(2)).sort());
  const here = { log: [] };
  print(await o.take(new Box(here, 'argument')));
  try { await o.fails(new Box(here, 'other')); } catch (e) { print(e.message); }
  for (let i = 0; i < 50 && here.log.length < 2; i++) await scheduler.wait(5);
  print(here.log);
  await o.keep((x) => `kept ${x}`);
  print(await o.use(), await o.use());
  await o.drop();
  try { await o.use(); } catch (e) { print(e.name, e.message, e.remote); }
  await o.keepBadly((x) => `kept ${x}`);
  try { await o.use(); } catch (e) { print(e.name, e.message, e.remote); }
};
