import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject {
  run() { const s = this.ctx.storage, out = []; out.push(s.transactionSync(() => { s.kv.put('a', 1); s.sql.exec('CREATE TABLE t (x)'); s.sql.exec('INSERT INTO t VALUES (1)'); return 'done'; }), s.kv.get('a'));
    try { s.transactionSync(() => { s.kv.put('a', 2); s.sql.exec('INSERT INTO t VALUES (2)'); throw new Error('undo'); }); } catch (e) { out.push(e.message); } out.push(s.kv.get('a'), s.sql.exec('SELECT count(*) AS n FROM t').one().n);
    s.transactionSync(() => { s.kv.put('b', 1); try { s.transactionSync(() => { s.kv.put('b', 2); throw new Error('inner'); }); } catch (e) { out.push(e.message); } }); out.push(s.kv.get('b')); return out; }
}
export default async (print, env) => { print(await env.Obj.getByName('a').run()); };
