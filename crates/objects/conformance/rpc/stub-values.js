import { DurableObject, RpcTarget, RpcStub } from "cloudflare:workers";
class Box extends RpcTarget { constructor(v) { super(); this.v = v; this.own = () => 1; } get() { return this.v; } get value() { return this.v; } nested() { return new Box(`${this.v}n`); } fail() { throw new RangeError('no'); } get inner() { return new Box('inner'); } }
export class Obj extends DurableObject { box(v) { return new Box(v); } both() { return { a: new Box(1), f: () => 7, n: 5, list: [() => 1, new Map([['k', () => 2]])] }; } }
export default async (print, env) => {
  const o = env.Obj.getByName('a');
  const b = await o.box(1);
  print(typeof b, String(b), b instanceof RpcStub, Object.prototype.toString.call(b), b.constructor.name, b.then === undefined, Object.keys(b));
  print(await b.get(), await b.value, typeof b.get, typeof b.dup, typeof b[Symbol.dispose]);
  for (const n of ['own', 'v', 'nope', 'constructor', 'toString']) try { print(n, await b[n]()); } catch (e) { print(n, e.name, n === 'constructor' ? '' : e.message, e.remote); }
  try { await b.fail(); } catch (e) { print(e.name, e.message, e.remote, e.durableObjectId === o.id.toString()); }
  try { await b(); } catch (e) { print(e.name, e.message); }
  print(await (await b.nested()).get(), await b.nested().get(), await b.inner.get(), await b.nested().nested().value);
  const r = await o.both();
  print(Object.keys(r), typeof r.f, await r.a.get(), await r.f(), r.n, await r.list[0](), await r.list[1].get('k')());
};
