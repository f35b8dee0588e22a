import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { constructor(ctx, env) { super(ctx, env); ctx.storage.sql.exec('CREATE TABLE IF NOT EXISTS t (x)'); } add(x) { this.ctx.storage.sql.exec('INSERT INTO t VALUES (?)', x); } all() { return this.ctx.storage.sql.exec('SELECT x FROM t').toArray(); } die() { this.ctx.abort('x'); } }
export default async (print, env) => { const o = env.Obj.getByName('a'); await o.add(1); await o.add(2); try { await o.die(); } catch {} print(await env.Obj.getByName('a').all()); };
