import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { run() { const q = (...a) => this.ctx.storage.sql.exec(...a); return [q("SELECT 1 AS i, 1.0 AS f, 'x' AS t, NULL AS n, x'0102' AS b, 9007199254740991 AS m, 1=1 AS yes").one(), q('SELECT 1 AS a, 2 AS a').columnNames, q('SELECT 1 AS a, 2 AS a').raw().toArray(), q('SELECT 0.1 + 0.2 AS f').one().f, q("SELECT 'é' || char(128512) AS s, length('é😀') AS n").one()]; } }
export default async (print, env) => { for (const v of await env.Obj.getByName('a').run()) print(v); };
