import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { async call(f) { return [await f(1), await f(2)]; } make() { let n = 0; return () => ++n; } }
export default async (print, env) => { const o = env.Obj.getByName('a'); const seen = []; print(await o.call((x) => { seen.push(x); return x * 10; }), seen); const f = await o.make(); print(await f(), await f()); };
