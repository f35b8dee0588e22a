import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject {
  async run() { const s = this.ctx.storage, out = []; out.push(await s.get('a'), await s.put('a', 1), await s.get('a'), await s.delete('a'), await s.delete('a'), await s.get('a')); await s.put({ x: 1, y: 2, z: 3 }); out.push(await s.get(['x', 'z', 'none']), await s.delete(['x', 'none', 'y']), await s.list()); return out; }
}
export default async (print, env) => { for (const v of await env.Obj.getByName('a').run()) print(v); };
