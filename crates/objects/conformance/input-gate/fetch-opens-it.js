import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { n = 0; async ask() { const seen = this.n; await this.env.Other.getByName('o').wait(); return this.n - seen; } inc() { return ++this.n; } }
export class Other extends DurableObject { async wait() { await new Promise((r) => setTimeout(r, 20)); } }
export default async (print, env) => { const o = env.Obj.getByName('a'); await o.inc(); const [seen] = await Promise.all([o.ask(), o.inc(), o.inc()]); print(seen); };
