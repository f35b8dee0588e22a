import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { async init() { await this.ctx.blockConcurrencyWhile(async () => { await this.ctx.storage.put('ready', false); await new Promise((r) => setTimeout(r, 10)); await this.ctx.storage.put('ready', true); }); } ready() { return this.ctx.storage.get('ready'); } }
export default async (print, env) => { const o = env.Obj.getByName('a'); const [, seen] = await Promise.all([o.init(), o.ready()]); print(seen); };
