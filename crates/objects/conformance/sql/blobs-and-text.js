import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { run() { const q = (...a) => this.ctx.storage.sql.exec(...a); q('CREATE TABLE t (b BLOB, s TEXT)'); q('INSERT INTO t VALUES (?, ?)', new Uint8Array([0, 255, 1]), 'nul\u0000in'); const r = q('SELECT * FROM t').one(); return [r.b instanceof ArrayBuffer, [...new Uint8Array(r.b)], r.s.length, q("SELECT hex(b) AS h FROM t").one().h]; } }
export default async (print, env) => { print(await env.Obj.getByName('a').run()); };
