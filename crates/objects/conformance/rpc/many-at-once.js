import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { n = 0; inc() { return ++this.n; } }
export default async (print, env) => { const o = env.Obj.getByName('a'); const all = await Promise.all(Array.from({ length: 200 }, () => o.inc())); print(all.length, all[0], all[199], new Set(all).size); };
