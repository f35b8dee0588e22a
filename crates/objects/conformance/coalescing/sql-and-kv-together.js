import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { go() { const s = this.ctx.storage; s.sql.exec('CREATE TABLE t (x)'); s.kv.put('a', 1); s.sql.exec('INSERT INTO t VALUES (1)'); s.put('b', 2); return [s.kv.get('b'), s.sql.exec('SELECT x FROM t').one().x]; } }
export default async (print, env) => { print(await env.Obj.getByName('a').go()); };
