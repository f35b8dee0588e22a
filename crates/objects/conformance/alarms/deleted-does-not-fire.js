import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { rang = false; async go() { await this.ctx.storage.setAlarm(Date.now() + 30); await this.ctx.storage.deleteAlarm(); } alarm() { this.rang = true; } look() { return this.rang; } }
export default async (print, env) => { const o = env.Obj.getByName('a'); await o.go(); await new Promise((k) => setTimeout(k, 100)); print(await o.look()); };
