import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject {
  run() { const kv = this.ctx.storage.kv, out = []; out.push(kv.get('a'), kv.put('a', { n: 1 }), kv.get('a'), kv.delete('a'), kv.delete('a')); for (const k of ['x1', 'x2', 'y1']) kv.put(k, k.toUpperCase()); out.push([...kv.list()], [...kv.list({ prefix: 'x' })], [...kv.list({ reverse: true, limit: 1 })], [...kv.list({ start: 'x2' })]); return out; }
}
export default async (print, env) => { for (const v of await env.Obj.getByName('a').run()) print(v); };
