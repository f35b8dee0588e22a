import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { fetch() { const p = new WebSocketPair(); this.ctx.acceptWebSocket(p[1]); return new Response(null, { status: 101, webSocket: p[0] }); } webSocketMessage(ws, m) { ws.send(String(m.length)); } }
export default async (print, env) => { const ws = (await env.Obj.getByName('a').fetch('http://x/', { headers: { Upgrade: 'websocket' } })).webSocket; ws.accept(); const m = new Promise((k) => ws.addEventListener('message', (e) => k(e.data))); ws.send('x'.repeat(500000)); print(await m); };
