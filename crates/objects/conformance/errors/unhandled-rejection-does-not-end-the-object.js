import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { n = 0; loose() { Promise.reject(new Error('loose')); return ++this.n; } }
export default async (print, env) => { const o = env.Obj.getByName('a'); print(await o.loose()); await new Promise((r) => setTimeout(r, 5)); print(await o.loose()); };
