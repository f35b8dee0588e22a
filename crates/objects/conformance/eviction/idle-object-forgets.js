import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { n = 0; async inc() { await this.ctx.storage.put('total', ((await this.ctx.storage.get('total')) ?? 0) + 1); return [++this.n, await this.ctx.storage.get('total')]; } }
export default async (print, env) => { const o = env.Obj.getByName('a'); print(await o.inc(), await o.inc()); await new Promise((r) => setTimeout(r, 13000)); print(await o.inc()); };
