import { DurableObject } from "cloudflare:workers";
class Mine extends Error { constructor(m, code) { super(m); this.name = 'Mine'; this.code = code; } }
export class Obj extends DurableObject { range() { throw new RangeError('out'); } mine() { throw new Mine('custom', 7); } text() { throw 'just text'; } async later() { await null; throw new TypeError('late'); } own() { throw Object.assign(new Error('own'), { a: { b: [1] } }); } }
export default async (print, env) => { const o = env.Obj.getByName('a'); for (const m of ['range', 'mine', 'later', 'own']) try { await o[m](); } catch (e) { print(m, e.name, e.message, e instanceof Error, e.code, e.a, e.remote); } try { await o.text(); } catch (e) { print('text', e?.message ?? e); } };
