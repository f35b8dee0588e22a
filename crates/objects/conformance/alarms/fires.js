import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { async go() { await this.ctx.storage.setAlarm(Date.now() + 20); } async alarm(info) { await this.ctx.storage.put('rang', [info?.isRetry, info?.retryCount, await this.ctx.storage.getAlarm()]); } rang() { return this.ctx.storage.get('rang'); } }
export default async (print, env) => { const o = env.Obj.getByName('a'); await o.go(); for (let i = 0; i < 300; i++) { const r = await o.rang(); if (r) { print(r); return; } await new Promise((k) => setTimeout(k, 10)); } print('never'); };
