import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { async fetch() { let v = (await this.ctx.storage.get('value')) || 0; v++; await this.ctx.storage.put('value', v); return new Response(String(v)); } }
export default async (print, env) => { const o = env.Obj.getByName('a'); const all = await Promise.all(Array.from({ length: 10 }, async () => Number(await (await o.fetch('http://x/')).text()))); print(all.sort((a, b) => a - b)); };
