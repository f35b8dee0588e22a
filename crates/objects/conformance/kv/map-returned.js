import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { async run() { const s = this.ctx.storage; await s.put({ b: 1, a: 2, c: 3 }); const got = await s.get(['c', 'a', 'none', 'a']); const list = await s.list(); return [got instanceof Map, [...got.keys()], list instanceof Map, [...list.keys()], (await s.get([])).size]; } }
export default async (print, env) => { print(await env.Obj.getByName('a').run()); };
