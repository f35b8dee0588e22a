import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject {
  run() { const q = (...a) => this.ctx.storage.sql.exec(...a), out = []; for (const v of [1, -1.5, 'text', null, true, false, new Uint8Array([1, 2]), new Uint8Array([3]).buffer, 2 ** 40, 'ü😀', '']) { const r = q('SELECT ? AS v, typeof(?) AS t', v, v).one(); out.push([r.v, r.t]); }
    for (const bad of [undefined, 1n, {}, [], Symbol.iterator, () => 1]) try { out.push(q('SELECT ? AS v', bad).one().v); } catch (e) { out.push(e.name); }
    for (const f of [() => q('SELECT ?'), () => q('SELECT ?', 1, 2), () => q('SELECT ?2, ?1', 'a', 'b').raw().toArray()[0].join()]) try { out.push(f()); } catch (e) { out.push(e instanceof Error); } return out; }
}
export default async (print, env) => { for (const v of await env.Obj.getByName('a').run()) print(v); };
