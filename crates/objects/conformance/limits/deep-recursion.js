import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { deep() { const f = (n) => f(n + 1) + 1; try { return f(0); } catch (e) { return e.name; } } hi() { return 'alive'; } }
export default async (print, env) => { const o = env.Obj.getByName('a'); print(await o.deep(), await o.hi()); };
