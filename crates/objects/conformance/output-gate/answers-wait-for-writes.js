import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { async fetch() { this.ctx.storage.put('a', 1); return new Response('sent'); } async get() { return this.ctx.storage.get('a'); } die() { this.ctx.abort('x'); } }
export default async (print, env) => { const o = env.Obj.getByName('a'); print(await (await o.fetch('http://x/')).text()); try { await o.die(); } catch {} print(await env.Obj.getByName('a').get()); };
