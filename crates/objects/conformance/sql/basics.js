import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject {
  run() { const q = (...a) => this.ctx.storage.sql.exec(...a); q('CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, v REAL, b BLOB)'); q('INSERT INTO t (name, v, b) VALUES (?, ?, ?), (?, ?, ?)', 'one', 1.5, new Uint8Array([1, 2]).buffer, 'two', null, null); const c = q('SELECT * FROM t ORDER BY id'); return [c.columnNames, c.toArray(), q('SELECT count(*) AS n FROM t').one(), q('UPDATE t SET v = 2 WHERE id = 2 RETURNING name, v').toArray(), q('DELETE FROM t WHERE id = ?', 1).rowsWritten > 0, q('SELECT name FROM t').raw().toArray()]; }
}
export default async (print, env) => { for (const v of await env.Obj.getByName('a').run()) print(v); };
