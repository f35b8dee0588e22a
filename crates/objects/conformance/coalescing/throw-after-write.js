import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { async go() { this.ctx.storage.put('a', 1); throw new Error('after the write'); } async get() { return this.ctx.storage.get('a'); } }
export default async (print, env) => { const o = env.Obj.getByName('a'); try { await o.go(); } catch (e) { print(e.message); } print(await o.get()); };
