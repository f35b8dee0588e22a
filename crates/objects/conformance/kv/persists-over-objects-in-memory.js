import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { async put(v) { await this.ctx.storage.put('v', v); } async get() { return this.ctx.storage.get('v'); } die() { this.ctx.abort('over'); } }
export default async (print, env) => { const o = env.Obj.getByName('a'); await o.put('kept'); try { await o.die(); } catch (e) { print(e instanceof Error); } print(await env.Obj.getByName('a').get()); };
