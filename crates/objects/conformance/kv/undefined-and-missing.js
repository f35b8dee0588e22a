import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { async run() { const s = this.ctx.storage, out = []; out.push(await s.get('none'), s.kv.get('none')); for (const f of [() => s.get(), () => s.get(5), () => s.delete(), () => s.put({ a: undefined }), () => s.kv.put('k', undefined), () => s.kv.get()]) try { out.push(typeof await f()); } catch (e) { out.push(e.name); } return out; } }
export default async (print, env) => { print(await env.Obj.getByName('a').run()); };
