import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { async inc() { const n = (await this.ctx.storage.get('n')) ?? 0; await this.ctx.storage.put('n', n + 1); return n + 1; } }
export default async (print, env) => { const o = env.Obj.getByName('a'); const all = await Promise.all(Array.from({ length: 20 }, () => o.inc())); print(all.sort((a, b) => a - b)); };
