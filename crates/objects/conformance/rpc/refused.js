import { DurableObject } from "cloudflare:workers";
class Plain { x = 1; }
export class Obj extends DurableObject { take(v) { return typeof v; } instance() { return new Plain(); } symbol() { return Symbol('s'); } weak() { return new WeakMap(); } }
export default async (print, env) => { const o = env.Obj.getByName('a'); for (const f of [() => o.take(Symbol('x')), () => o.take(new Plain()), () => o.instance(), () => o.symbol(), () => o.weak(), () => o.take({ a: new Plain() })]) try { await f(); print('fine'); } catch (e) { print(e.name); } };
