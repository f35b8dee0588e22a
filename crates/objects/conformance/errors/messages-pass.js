import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { a() { throw new Error('ü😀 "quotes" \n newline'); } b() { throw new Error(''); } c() { throw null; } d() { throw { custom: 1 }; } e() { return Promise.reject(new TypeError('rejected')); } }
export default async (print, env) => { const o = env.Obj.getByName('a'); for (const m of ['a', 'b', 'e']) try { await o[m](); } catch (e) { print(m, e.name, JSON.stringify(e.message)); } for (const m of ['c', 'd']) try { await o[m](); print('fine'); } catch (e) { print(m, e === null || typeof e); } };
