import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { async go() { await this.ctx.storage.setAlarm(Date.now() + 1500); } die() { this.ctx.abort('gone'); } async alarm() { await this.ctx.storage.put('rang', true); } rang() { return this.ctx.storage.get('rang'); } }
export default async (print, env) => { const o = env.Obj.getByName('a'); await o.go(); try { await o.die(); } catch {} for (let i = 0; i < 100; i++) { await new Promise((k) => setTimeout(k, 100)); if (await env.Obj.getByName('a').rang()) { print('rang'); return; } } print('never'); };
