import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { async go() { const s = this.ctx.storage; for (let i = 0; i < 50; i++) s.put('k' + i, i); s.delete('k3'); return (await s.list()).size; } async size() { return (await this.ctx.storage.list()).size; } }
export default async (print, env) => { const o = env.Obj.getByName('a'); print(await o.go(), await o.size()); };
