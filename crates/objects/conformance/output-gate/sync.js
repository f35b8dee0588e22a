import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { async go() { this.ctx.storage.put('a', 1, { allowUnconfirmed: true }); this.ctx.storage.kv.put('b', 2); await this.ctx.storage.sync(); return [await this.ctx.storage.get('a'), this.ctx.storage.kv.get('b')]; } }
export default async (print, env) => { print(await env.Obj.getByName('a').go()); };
