import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { async run() { const s = this.ctx.storage; for (let i = 0; i < 1500; i++) s.put('k' + String(i).padStart(4, '0'), i); const all = await s.list(); return [all.size, [...all.keys()][1499], (await s.list({ limit: 1000 })).size, (await s.list({ prefix: 'k00' })).size]; } }
export default async (print, env) => { print(await env.Obj.getByName('a').run()); };
