import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { constructor(ctx, env) { super(ctx, env); ctx.storage.sql.exec('CREATE TABLE IF NOT EXISTS c (k TEXT PRIMARY KEY, n INTEGER)'); } inc(k) { return this.ctx.storage.sql.exec('INSERT INTO c VALUES (?, 1) ON CONFLICT (k) DO UPDATE SET n = n + 1 RETURNING n', k).one().n; } }
export default async (print, env) => { const o = env.Obj.getByName('a'); print(await Promise.all(['a', 'b', 'a', 'a'].map((k) => o.inc(k)))); };
