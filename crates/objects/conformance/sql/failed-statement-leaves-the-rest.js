import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { run() { const q = (...a) => this.ctx.storage.sql.exec(...a); q('CREATE TABLE t (x UNIQUE)'); q('INSERT INTO t VALUES (1)'); try { q('INSERT INTO t VALUES (2); INSERT INTO t VALUES (1); INSERT INTO t VALUES (3)'); } catch {} return q('SELECT x FROM t ORDER BY x').toArray().map((r) => r.x); } }
export default async (print, env) => { print(await env.Obj.getByName('a').run()); };
