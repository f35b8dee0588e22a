import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { tokens = 3; take() { if (this.tokens === 0) return false; this.tokens--; return true; } }
export default async (print, env) => { const o = env.Obj.getByName('a'); const all = await Promise.all(Array.from({ length: 6 }, () => o.take())); print(all.filter(Boolean).length, all); };
