import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject {
  async run() {
    const s = this.ctx.storage; await s.put(Object.fromEntries(['a', 'a1', 'a2', 'b', 'b1', 'c', 'ä', 'z'].map((k) => [k, k])));
    const keys = async (o) => [...(await s.list(o)).keys()];
    return [await keys(), await keys({ prefix: 'a' }), await keys({ start: 'a2' }), await keys({ end: 'b' }), await keys({ start: 'a1', end: 'c' }), await keys({ limit: 2 }), await keys({ reverse: true }), await keys({ reverse: true, limit: 3 }), await keys({ startAfter: 'a1' }), await keys({ prefix: 'b', limit: 1 }), await keys({ prefix: 'a', reverse: true }), await keys({ start: 'x', end: 'a' }), await keys({ prefix: 'q' }), await keys({ start: 'a', startAfter: undefined, limit: 1 })];
  }
}
export default async (print, env) => { for (const k of await env.Obj.getByName('a').run()) print(k); };
