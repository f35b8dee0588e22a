import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { async inc() { const n = ((await this.ctx.storage.get('n')) ?? 0) + 1; this.ctx.storage.put('n', n); return n; } }
export default async (print, env) => { const all = await Promise.all(Array.from({ length: 40 }, (_, i) => env.Obj.getByName('o' + (i % 8)).inc())); print(all.filter((n) => n === 5).length, Math.max(...all)); };
