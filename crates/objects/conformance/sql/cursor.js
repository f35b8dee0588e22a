import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject {
  run() { const q = (...a) => this.ctx.storage.sql.exec(...a), out = []; q('CREATE TABLE t (x)'); for (let i = 0; i < 4; i++) q('INSERT INTO t VALUES (?)', i);
    const c = q('SELECT x FROM t'); const first = c.next(); out.push(first.value, first.done); for (const r of c) { out.push(r.x); if (r.x === 1) break; } out.push(c.toArray()); const end = c.next(); out.push(end.done, end.value); const r = q('SELECT x, x * 2 FROM t').raw(); out.push(r.next().value, [...r]); out.push([...q('SELECT x FROM t WHERE x > 9')]);
    for (const f of [() => q('SELECT x FROM t').one(), () => q('SELECT x FROM t WHERE x > 9').one()]) try { f(); out.push('fine'); } catch (e) { out.push(e instanceof Error); } return out; }
}
export default async (print, env) => { for (const v of await env.Obj.getByName('a').run()) print(v); };
