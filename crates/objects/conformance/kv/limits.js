import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject {
  async run() { const s = this.ctx.storage, out = []; const attempt = async (f) => { try { await f(); out.push('fine'); } catch (e) { out.push(e.name); } }; await attempt(() => s.put('k'.repeat(2048), 1)); await attempt(() => s.put('k'.repeat(2049), 1)); await attempt(() => s.put('', 1)); await attempt(() => s.put('v', 'x'.repeat(1 << 20))); await attempt(() => s.put('v', new Uint8Array(3 << 20))); await attempt(() => s.get('k'.repeat(3000))); await attempt(() => s.put(undefined, 1)); await attempt(() => s.put('only')); return out; }
}
export default async (print, env) => { print(await env.Obj.getByName('a').run()); };
