import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { async run() { const s = this.ctx.storage; await s.put(5, 'number'); await s.put(true, 'boolean'); return [await s.get('5'), await s.get('true'), [...(await s.list()).keys()]]; } }
export default async (print, env) => { print(await env.Obj.getByName('a').run()); };
