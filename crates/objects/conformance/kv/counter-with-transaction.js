import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { inc() { return this.ctx.storage.transaction(async (t) => { const n = (await t.get('n')) ?? 0; await t.put('n', n + 1); return n + 1; }); } }
export default async (print, env) => { const o = env.Obj.getByName('a'); print((await Promise.all([1, 2, 3, 4].map(() => o.inc()))).sort()); };
