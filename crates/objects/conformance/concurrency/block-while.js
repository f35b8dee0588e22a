import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { constructor(ctx, env) { super(ctx, env); this.log = []; ctx.blockConcurrencyWhile(async () => { this.log.push('begin'); await new Promise((r) => setTimeout(r, 10)); this.log.push('end'); }); this.log.push('constructed'); } look() { return this.log; } }
export default async (print, env) => { print(await env.Obj.getByName('a').look()); };
