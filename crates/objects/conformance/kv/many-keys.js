import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject {
  async run() { const s = this.ctx.storage, out = []; const many = (n) => Object.fromEntries(Array.from({ length: n }, (_, i) => [`k${String(i).padStart(3, '0')}`, i])); await s.put(many(128)); out.push((await s.list()).size, (await s.get(Object.keys(many(128)))).size); for (const f of [() => s.put(many(129)), () => s.get(Object.keys(many(129))), () => s.delete(Object.keys(many(129)))]) try { await f(); out.push('fine'); } catch (e) { out.push(e.name); } out.push(await s.delete(Object.keys(many(128))), (await s.list()).size); return out; }
}
export default async (print, env) => { print(await env.Obj.getByName('a').run()); };
