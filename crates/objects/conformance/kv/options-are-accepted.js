import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { async run() { const s = this.ctx.storage; await s.put('a', 1, { allowConcurrency: true, allowUnconfirmed: true, noCache: true }); await s.put({ b: 2 }, { allowUnconfirmed: true }); const out = [await s.get('a', { allowConcurrency: true }), [...await s.get(['a', 'b'], { noCache: true })], await s.delete('a', { allowUnconfirmed: true })]; await s.sync(); return out; } }
export default async (print, env) => { print(await env.Obj.getByName('a').run()); };
