import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { async run() { const v = await this.ctx.blockConcurrencyWhile(async () => { await this.ctx.storage.put('a', 1); return this.ctx.storage.get('a'); }); const n = await this.ctx.blockConcurrencyWhile(() => this.ctx.blockConcurrencyWhile(async () => 'nested')); return [v, n]; } }
export default async (print, env) => { print(await env.Obj.getByName('a').run()); };
