import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { run() { const q = (...a) => this.ctx.storage.sql.exec(...a), out = []; q('CREATE TABLE t (id INTEGER PRIMARY KEY, x)'); for (let i = 1; i <= 3; i++) q('INSERT INTO t VALUES (?, ?)', i, i); for (const r of q('SELECT * FROM t ORDER BY id')) { out.push(r.x); q('UPDATE t SET x = x * 10 WHERE id = ?', r.id); } out.push(q('SELECT x FROM t ORDER BY id').toArray().map((r) => r.x)); return out; } }
export default async (print, env) => { print(await env.Obj.getByName('a').run()); };
