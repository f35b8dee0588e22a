import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { async go() { await this.ctx.storage.setAlarm(Date.now() - 5000); } async alarm() { await this.ctx.storage.put('rang', true); } rang() { return this.ctx.storage.get('rang'); } }
export default async (print, env) => { const o = env.Obj.getByName('a'); await o.go(); for (let i = 0; i < 300; i++) { if (await o.rang()) { print('rang'); return; } await new Promise((k) => setTimeout(k, 10)); } print('never'); };
