import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { fetch(r) { const out = []; try { r.headers.set('a', 'b'); out.push('set'); } catch (e) { out.push(e.name); } const copy = new Request(r); copy.headers.set('a', 'b'); out.push(copy.headers.get('a')); const other = new Request('http://y/', copy); out.push(other.method, other.url); return Response.json(out); } }
export default async (print, env) => { print(await (await env.Obj.getByName('a').fetch('http://x/', { method: 'POST', body: 'x' })).json()); };
