import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject {
  async run() { const s = this.ctx.storage, out = []; await s.put('n', 1);
    out.push(await s.transaction(async (t) => { const n = await t.get('n'); await t.put('n', n + 1); return n; }), await s.get('n'));
    try { await s.transaction(async (t) => { await t.put('n', 100); throw new RangeError('undo'); }); } catch (e) { out.push(e.name, await s.get('n')); }
    await s.transaction(async (t) => { await t.put('n', 50); t.rollback(); }); out.push(await s.get('n'));
    await s.transaction(async (t) => { await t.put({ a: 1, b: 2 }); out.push([...(await t.list()).keys()]); await t.delete('a'); }); out.push([...(await s.list()).keys()]); return out; }
}
export default async (print, env) => { print(await env.Obj.getByName('a').run()); };
