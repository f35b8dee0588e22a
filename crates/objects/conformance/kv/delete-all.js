import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { async run() { const s = this.ctx.storage; await s.put({ a: 1, b: 2 }); s.sql.exec('CREATE TABLE t (x)'); await s.setAlarm(Date.now() + 1e6); await s.deleteAll(); const out = [(await s.list()).size, await s.getAlarm()]; try { s.sql.exec('SELECT * FROM t').toArray(); out.push('there'); } catch (e) { out.push('gone'); } await s.put('c', 3); out.push((await s.list()).size); return out; } alarm() {} }
export default async (print, env) => { print(await env.Obj.getByName('a').run()); };
