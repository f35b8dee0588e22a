import { DurableObject } from "cloudflare:workers";
export class Front extends DurableObject { fetch(r) { return this.env.Back.getByName('b').fetch(r); } }
export class Back extends DurableObject { async fetch(r) { return new Response('back ' + (await r.text()), { headers: { from: 'back' } }); } }
export default async (print, env) => { const r = await env.Front.getByName('f').fetch('http://x/', { method: 'POST', body: 'through' }); print(r.headers.get('from'), await r.text()); };
