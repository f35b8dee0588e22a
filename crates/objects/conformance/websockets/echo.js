import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { fetch() { const [client, server] = Object.values(new WebSocketPair()); server.accept(); server.addEventListener('message', (e) => { server.send(typeof e.data === 'string' ? 'echo ' + e.data : e.data); if (e.data === 'bye') server.close(4001, 'see you'); }); return new Response(null, { status: 101, webSocket: client }); } }
export default async (print, env) => {
  const r = await env.Obj.getByName('a').fetch('http://x/', { headers: { Upgrade: 'websocket' } }); print(r.status, r.webSocket !== null); const ws = r.webSocket; ws.accept(); const got = []; const done = new Promise((k) => { ws.addEventListener('message', (e) => got.push(typeof e.data === 'string' ? e.data : [...new Uint8Array(e.data)])); ws.addEventListener('close', (e) => k([e.code, e.reason, e.wasClean])); });
  ws.send('one'); ws.send('ü😀'); ws.send('bye'); print(await done, got);
};
