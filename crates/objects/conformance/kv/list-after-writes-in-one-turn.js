import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { async run() { const s = this.ctx.storage; s.put('a', 1); s.put('b', 2); s.delete('a'); const one = await s.list(); s.put('c', 3); const two = await s.list({ reverse: true }); return [[...one], [...two]]; } }
export default async (print, env) => { print(await env.Obj.getByName('a').run()); };
