import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { constructor(ctx, env) { super(ctx, env); this.made = (ctx.storage.kv.get('made') ?? 0) + 1; ctx.storage.kv.put('made', this.made); } async bad() { await this.ctx.blockConcurrencyWhile(async () => { throw new RangeError('broken'); }); } count() { return this.made; } }
export default async (print, env) => { const o = env.Obj.getByName('a'); print(await o.count()); try { await o.bad(); print('fine'); } catch (e) { print(e.message); } print(await env.Obj.getByName('a').count()); };
