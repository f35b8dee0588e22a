import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { log = []; async slow(n) { this.log.push(`${n} in`); await new Promise((r) => setTimeout(r, 10)); this.log.push(`${n} out`); } look() { return this.log; } }
export default async (print, env) => { const o = env.Obj.getByName('a'); await o.look(); await Promise.all([o.slow(1), o.slow(2)]); print(await o.look()); };
