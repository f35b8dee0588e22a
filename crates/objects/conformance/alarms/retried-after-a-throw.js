import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { log = []; async go() { await this.ctx.storage.setAlarm(Date.now()); } async alarm(info) { this.log.push([info.retryCount, info.isRetry]); if (this.log.length < 2) throw new Error('again'); } look() { return this.log; } }
export default async (print, env) => { const o = env.Obj.getByName('a'); await o.go(); for (let i = 0; i < 600; i++) { const l = await o.look(); if (l.length === 2) { print(l); return; } await new Promise((k) => setTimeout(k, 20)); } print('never'); };
