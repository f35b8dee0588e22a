import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject {
  run() { const q = (s) => { try { this.ctx.storage.sql.exec(s).toArray(); return 'ran'; } catch (e) { return 'refused'; } }; return ['BEGIN', 'BEGIN TRANSACTION', 'COMMIT', 'ROLLBACK', 'SAVEPOINT a', 'RELEASE a', "ATTACH DATABASE ':memory:' AS m", 'VACUUM', 'PRAGMA journal_mode = DELETE', 'PRAGMA writable_schema = 1', 'PRAGMA page_size', 'CREATE TABLE _cf_mine (x)', 'SELECT * FROM _cf_KV', 'DROP TABLE _cf_KV', 'SELECT load_extension("x")', 'CREATE TEMP TABLE tt (x)', 'CREATE VIRTUAL TABLE v USING rtree(a, b, c)', 'PRAGMA table_list', 'PRAGMA foreign_keys = ON', 'CREATE TABLE ok (x)', 'PRAGMA table_info(ok)', 'PRAGMA index_list(ok)', 'ANALYZE', 'EXPLAIN SELECT 1'].map((s) => `${s}: ${q(s)}`); }
}
export default async (print, env) => { for (const v of await env.Obj.getByName('a').run()) print(v); };
