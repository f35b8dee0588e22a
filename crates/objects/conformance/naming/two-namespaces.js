import { DurableObject } from "cloudflare:workers";
export class A extends DurableObject { put(v) { this.ctx.storage.kv.put('k', v); } get() { return this.ctx.storage.kv.get('k'); } }
export class B extends DurableObject { put(v) { this.ctx.storage.kv.put('k', v); } get() { return this.ctx.storage.kv.get('k'); } }
export default async (print, env) => { await env.A.getByName('n').put('a'); await env.B.getByName('n').put('b'); print(await env.A.getByName('n').get(), await env.B.getByName('n').get()); };
