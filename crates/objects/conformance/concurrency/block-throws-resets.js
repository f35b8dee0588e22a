import { DurableObject } from "cloudflare:workers";
let made = 0;
export class Obj extends DurableObject { constructor(ctx, env) { super(ctx, env); made++; } async bad() { await this.ctx.blockConcurrencyWhile(async () => { throw new RangeError('broken'); }); } made() { return made; } }
export default async (print, env) => { const o = env.Obj.getByName('a'); print(await o.made()); try { await o.bad(); print('fine'); } catch (e) { print(e.message); } print(await env.Obj.getByName('a').made()); };
