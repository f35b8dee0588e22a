import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { n = 0; inc() { return ++this.n; } bad() { this.n += 10; throw new Error('bad'); } }
export default async (print, env) => { const o = env.Obj.getByName('a'); await o.inc(); try { await o.bad(); } catch (e) { print(e.message); } print(await o.inc()); };
