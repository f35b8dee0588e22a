import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { fetch() { const p = new WebSocketPair(); this.ctx.acceptWebSocket(p[1]); p[1].send('first'); p[1].send('second'); return new Response(null, { status: 101, webSocket: p[0] }); } }
export default async (print, env) => { const ws = (await env.Obj.getByName('a').fetch('http://x/', { headers: { Upgrade: 'websocket' } })).webSocket; const got = []; const done = new Promise((k) => ws.addEventListener('message', (e) => { got.push(e.data); if (got.length === 2) k(); })); ws.accept(); await done; print(got); };
