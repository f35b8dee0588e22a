import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject {
  run() {
    const q = (...a) => this.ctx.storage.sql.exec(...a), out = [];
    q('CREATE TABLE t (x INTEGER PRIMARY KEY)');
    for (let i = 0; i < 1500; i++) q('INSERT INTO t VALUES (?)', i);
    for (let i = 0; i < 1500; i++) q('SELECT x FROM t WHERE x < 0');
    let sum = 0;
    for (let i = 0; i < 1500; i++) sum += q('SELECT x FROM t WHERE x >= ?', i).next().value.x;
    for (let i = 0; i < 1500; i++) for (const { x } of q('SELECT x FROM t')) { sum += x; break; }
    for (let i = 0; i < 1500; i++) sum += q('SELECT x FROM t').raw().next().value[0];
    out.push(sum);
    const w = q('UPDATE t SET x = x + 100000 WHERE x < 5'), none = q('SELECT x FROM t WHERE x < 0');
    out.push([w.rowsWritten > 0, w.columnNames, w.next().done, none.columnNames, none.rowsWritten, none.toArray(), none.next().done]);
    const c = q('SELECT x FROM t ORDER BY x LIMIT 3'), r = c.raw();
    out.push([r.next().value, c.next().value, [...c]]);
    return out;
  }
  async later() {
    const q = (...a) => this.ctx.storage.sql.exec(...a), kept = [];
    q('CREATE TABLE u (x)'); q('INSERT INTO u VALUES (1), (2)');
    for (let i = 0; i < 100; i++) kept.push(q('SELECT x FROM u'));
    await scheduler.wait(1);
    return kept.map((c) => c.toArray().length).join('');
  }
}
export default async (print, env) => { const o = env.Obj.getByName('a'); for (const v of await o.run()) print(v); print((await o.later()).length); };
