import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { async take(r) { return `${r.method} ${r.url} ${r.headers.get('a')} ${await r.text()}`; } give() { return new Response('given', { status: 203, headers: { b: 'c' } }); } }
export default async (print, env) => { const o = env.Obj.getByName('a'); print(await o.take(new Request('http://x/y', { method: 'POST', headers: { a: '1' }, body: 'z' }))); const r = await o.give(); print(r.status, r.headers.get('b'), await r.text()); };
