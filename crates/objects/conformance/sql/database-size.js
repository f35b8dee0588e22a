import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { run() { const s = this.ctx.storage.sql; const a = s.databaseSize; s.exec('CREATE TABLE t (b BLOB)'); for (let i = 0; i < 50; i++) s.exec('INSERT INTO t VALUES (zeroblob(10000))'); return [typeof a, s.databaseSize > a + 400000, s.databaseSize % 4096]; } }
export default async (print, env) => { print(await env.Obj.getByName('a').run()); };
