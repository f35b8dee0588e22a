import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { run() { const q = (...a) => this.ctx.storage.sql.exec(...a); q('CREATE TABLE t (x)'); const ins = q('INSERT INTO t VALUES (1), (2), (3)'); const sel = q('SELECT * FROM t'); const before = sel.rowsRead; sel.toArray(); return [ins.rowsWritten, ins.rowsRead, before, sel.rowsRead, sel.rowsWritten, q('UPDATE t SET x = x + 1').rowsWritten, q('DELETE FROM t').rowsWritten]; } }
export default async (print, env) => { print(await env.Obj.getByName('a').run()); };
