import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { async run() { const s = this.ctx.storage; s.put('a', 1); s.put('a', 2); s.delete('b'); s.put('b', 3); const [a, b] = await Promise.all([s.get('a'), s.get('b')]); s.delete('a'); return [a, b, await s.get('a'), (await s.list()).size]; } }
export default async (print, env) => { print(await env.Obj.getByName('a').run()); };
