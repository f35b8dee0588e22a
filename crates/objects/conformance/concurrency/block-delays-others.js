import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { log = []; async block() { await this.ctx.blockConcurrencyWhile(async () => { this.log.push('in'); await new Promise((r) => setTimeout(r, 20)); this.log.push('out'); }); return 'blocked'; } touch() { this.log.push('touch'); return this.log.length; } look() { return this.log; } }
export default async (print, env) => { const o = env.Obj.getByName('a'); await o.look(); print(await Promise.all([o.block(), o.touch()])); print(await o.look()); };
