import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject {
  fetch(request) { const pair = new WebSocketPair(); this.ctx.acceptWebSocket(pair[1], ['tag', new URL(request.url).pathname]); pair[1].serializeAttachment({ n: 1, m: new Map([[1, 2]]) }); return new Response(null, { status: 101, webSocket: pair[0] }); }
  webSocketMessage(ws, m) { ws.send(`got ${m} ${this.ctx.getTags(ws).join()} ${ws.deserializeAttachment().n} ${this.ctx.getWebSockets().length} ${this.ctx.getWebSockets('tag').length} ${this.ctx.getWebSockets('none').length}`); }
  async webSocketClose(ws, code, reason, clean) { await this.ctx.storage.put('closed', [code, reason, clean]); } closed() { return this.ctx.storage.get('closed'); }
}
export default async (print, env) => {
  const o = env.Obj.getByName('a'); const open = async (path) => { const ws = (await o.fetch('http://x' + path, { headers: { Upgrade: 'websocket' } })).webSocket; ws.accept(); return ws; }; const next = (ws) => new Promise((k) => ws.addEventListener('message', (e) => k(e.data), { once: true }));
  const a = await open('/a'); const b = await open('/b'); let m = next(a); a.send('hi'); print(await m); m = next(b); b.send('yo'); print(await m); a.close(4000, 'done'); for (let i = 0; i < 100; i++) { const c = await o.closed(); if (c) { print(c); break; } await new Promise((k) => setTimeout(k, 10)); }
};
