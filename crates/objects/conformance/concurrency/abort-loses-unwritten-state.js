import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { n = 0; inc() { return ++this.n; } die() { this.ctx.abort(); } }
export default async (print, env) => { const o = env.Obj.getByName('a'); print(await o.inc(), await o.inc()); try { await o.die(); } catch (e) { print(e instanceof Error); } print(await env.Obj.getByName('a').inc()); };
