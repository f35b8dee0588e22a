import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { async run() { const s = this.ctx.storage; try { await s.transaction(async (t) => { await t.setAlarm(Date.now() + 1e6); throw new Error('undo'); }); } catch {} const one = await s.getAlarm(); const at = Date.now() + 2e6; await s.transaction(async (t) => { await t.setAlarm(at); }); return [one !== null, await s.getAlarm() === at]; } alarm() {} }
export default async (print, env) => { print(await env.Obj.getByName('a').run()); };
