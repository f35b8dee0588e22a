import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { async go() { try { await this.ctx.storage.setAlarm(Date.now() + 1000); return 'fine'; } catch (e) { return e instanceof Error; } } }
export default async (print, env) => { print(await env.Obj.getByName('a').go()); };
