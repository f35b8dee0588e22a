import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { change(v) { v.n = 2; return v; } }
export default async (print, env) => { const v = { n: 1 }; const r = await env.Obj.getByName('a').change(v); print(v.n, r.n); };
