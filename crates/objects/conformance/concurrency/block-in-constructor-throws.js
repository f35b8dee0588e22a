import { DurableObject } from "cloudflare:workers";
let n = 0;
export class Obj extends DurableObject { constructor(ctx, env) { super(ctx, env); ctx.blockConcurrencyWhile(async () => { if (++n === 1) throw new Error('not yet'); }); } hi() { return 'hi ' + n; } }
export default async (print, env) => { try { await env.Obj.getByName('a').hi(); print('fine'); } catch (e) { print(e.message); } print(await env.Obj.getByName('a').hi()); };
