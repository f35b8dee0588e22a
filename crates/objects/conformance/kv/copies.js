import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { async run() { const s = this.ctx.storage, v = { n: 1 }; s.put('v', v); v.n = 2; const got = await s.get('v'); got.n = 3; return [(await s.get('v')).n, got !== (await s.get('v'))]; } }
export default async (print, env) => { print(await env.Obj.getByName('a').run()); };
