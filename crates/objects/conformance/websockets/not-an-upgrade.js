import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { fetch() { return new Response('plain', { status: 426 }); } }
export default async (print, env) => { const r = await env.Obj.getByName('a').fetch('http://x/', { headers: { Upgrade: 'websocket' } }); print(r.status, r.webSocket, await r.text()); };
