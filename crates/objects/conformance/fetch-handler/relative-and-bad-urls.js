import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { fetch(r) { return new Response(r.url); } }
export default async (print, env) => { const o = env.Obj.getByName('a'); for (const u of ['http://x', 'https://x/a?b#c', '/relative', 'nonsense', 'http://x/ü']) try { print(await (await o.fetch(u)).text()); } catch (e) { print(u, e.name); } };
