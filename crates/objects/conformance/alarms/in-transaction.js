import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { async run() { const s = this.ctx.storage; const at = Date.now() + 2e6; await s.transaction(async (t) => { await t.setAlarm(at); }); return await s.getAlarm() === at; } alarm() {} }
export default async (print, env) => { print(await env.Obj.getByName('a').run()); };
