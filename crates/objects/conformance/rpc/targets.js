import { DurableObject, RpcTarget } from "cloudflare:workers";
class Counter extends RpcTarget { #n = 0; inc(by = 1) { return (this.#n += by); } get value() { return this.#n; } }
export class Obj extends DurableObject { counter() { return new Counter(); } }
export default async (print, env) => { const c = await env.Obj.getByName('a').counter(); print(await c.inc(), await c.inc(5), await c.value); };
