import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { run() { const q = (...a) => this.ctx.storage.sql.exec(...a); q('CREATE TABLE t (n INT, s TEXT)'); q("WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 5000) INSERT INTO t SELECT x, 'row ' || x FROM c"); let sum = 0; for (const r of q('SELECT n FROM t')) sum += r.n; return [sum, q('SELECT s FROM t WHERE n = 4999').one().s, q('SELECT * FROM t LIMIT 10').toArray().length]; } }
export default async (print, env) => { print(await env.Obj.getByName('a').run()); };
