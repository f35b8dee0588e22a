import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { called() { return this.ctx.id.name; } }
export default async (print, env) => { for (const n of ['', ' ', 'ü€😀', 'a/b?c#d', 'x'.repeat(500), '__proto__', 'constructor']) print((await env.Obj.getByName(n).called())?.length, env.Obj.idFromName(n).name === n); };
