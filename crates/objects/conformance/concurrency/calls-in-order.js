import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { log = []; push(n) { this.log.push(n); return this.log.length; } look() { return this.log; } }
export default async (print, env) => { const o = env.Obj.getByName('a'); print(await Promise.all([1, 2, 3, 4, 5].map((n) => o.push(n)))); print(await o.look()); };
