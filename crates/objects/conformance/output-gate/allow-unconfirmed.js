import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { async go() { for (let i = 0; i < 5; i++) this.ctx.storage.put('k' + i, i, { allowUnconfirmed: true }); return 'at once'; } async size() { return (await this.ctx.storage.list()).size; } }
export default async (print, env) => { const o = env.Obj.getByName('a'); print(await o.go(), await o.size()); };
