import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject {
  async run() {
    const s = this.ctx.storage; const values = { n: null, t: true, i: -5, f: 1.5, big: 2n ** 70n, s: 'é😀', d: new Date(99), r: /x/gi, m: new Map([['k', { v: new Set([1]) }]]), b: new Uint8Array([1, 2, 3]), ab: new Uint16Array([7]).buffer, a: [1, [2]], o: { deep: { er: 'x' } }, nan: NaN, z: -0 };
    await s.put(values); const all = await s.list(); const cyc = { n: 1 }; cyc.self = cyc; await s.put('cyc', cyc); const c = await s.get('cyc'); const e = new RangeError('boom'); e.extra = 4; await s.put('e', e); const g = await s.get('e');
    return [[...all], c.self === c, [g.name, g.message, g instanceof RangeError, g.extra], Object.is(all.get('z'), -0)];
  }
}
export default async (print, env) => { const [all, ...rest] = await env.Obj.getByName('a').run(); for (const [k, v] of all) print(k, v); print(rest); };
