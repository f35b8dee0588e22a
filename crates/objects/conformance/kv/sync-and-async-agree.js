import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { async run() { const s = this.ctx.storage; s.kv.put('a', 1); const one = await s.get('a'); await s.put('b', 2); s.put('c', 3); return [one, s.kv.get('b'), s.kv.get('c'), [...(await s.list()).keys()]]; } }
export default async (print, env) => { print(await env.Obj.getByName('a').run()); };
