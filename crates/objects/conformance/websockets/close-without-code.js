import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { fetch() { const p = new WebSocketPair(); this.ctx.acceptWebSocket(p[1]); return new Response(null, { status: 101, webSocket: p[0] }); } webSocketMessage(ws) { ws.close(); } }
export default async (print, env) => { const ws = (await env.Obj.getByName('a').fetch('http://x/', { headers: { Upgrade: 'websocket' } })).webSocket; ws.accept(); const closed = new Promise((k) => ws.addEventListener('close', (e) => k([e.code, e.reason]))); ws.send('x'); print(await closed); };
