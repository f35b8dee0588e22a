import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { async run() { const s = this.ctx.storage; await s.put({ a: 1, b: 2, c: 3 }); for (const k of (await s.list()).keys()) await s.delete(k); const kv = s.kv; for (const k of ['x', 'y', 'z']) kv.put(k, 1); for (const [k] of [...kv.list()]) kv.delete(k); return [(await s.list()).size, [...kv.list()].length]; } }
export default async (print, env) => { print(await env.Obj.getByName('a').run()); };
