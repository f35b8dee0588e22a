import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { v() { return 1; } bad() { throw new Error('bad'); } }
export default async (print, env) => { const o = env.Obj.getByName('a'); const p = o.v(); print(typeof p.then, typeof p.catch, typeof p.finally); print(await p.then((x) => x + 1), await o.bad().catch((e) => e.message), await o.v().finally(() => {}), await Promise.all([o.v(), o.v()]), await Promise.race([o.v()])); };
