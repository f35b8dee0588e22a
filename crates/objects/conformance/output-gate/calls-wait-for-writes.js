import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { async go() { this.ctx.storage.put('told', true); return this.env.Other.getByName('o').tell('a'); } told() { return this.ctx.storage.get('told'); } }
export class Other extends DurableObject { async tell(name) { return 'told by ' + name; } }
export default async (print, env) => { const o = env.Obj.getByName('a'); print(await o.go(), await o.told()); };
