import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { async fetch(r) { return new Response(`${r.method} ${r.body === null} ${r.headers.get('content-type')} ${await r.text()}`); } }
export default async (print, env) => { const o = env.Obj.getByName('a'); for (const [m, b] of [['GET'], ['POST', 'p'], ['PUT', new URLSearchParams('a=1')], ['DELETE'], ['PATCH', new Blob(['b'], { type: 'x/y' })], ['OPTIONS'], ['CUSTOM', 'c']]) try { print(await (await o.fetch('http://x/', { method: m, body: b })).text()); } catch (e) { print(m, e.name); } };
