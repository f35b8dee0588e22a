import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { size(b) { return b.length; } make(n) { return new Uint8Array(n).fill(7); } }
export default async (print, env) => { const o = env.Obj.getByName('a'); print(await o.size(new Uint8Array(4 << 20)), (await o.make(2 << 20))[5]); };
