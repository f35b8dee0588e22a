import { DurableObject } from "cloudflare:workers";
export class Counter extends DurableObject {
  life = crypto.randomUUID();
  async fetch(request) {
    if (request.headers.get("upgrade") === "websocket") {
      const [client, server] = Object.values(new WebSocketPair());
      this.ctx.acceptWebSocket(server);
      return new Response(null, { status: 101, webSocket: client });
    }
    if (request.method === "PUT") return new Response(request.body);
    const size = Number(request.headers.get("x-size") ?? 0);
    let n = (await this.ctx.storage.get("n")) ?? 0;
    if (request.method === "POST") {
      n += 1;
      this.ctx.storage.put("n", n);
      if (size) this.ctx.storage.put("blob", "x".repeat(size));
      console.log("counted to", n);
    }
    return new Response(`${n} ${this.life}`);
  }
  webSocketMessage(socket, message) { socket.send(`${this.life} ${message}`); }
}
export default {
  fetch: (request, env) => env.COUNTERS.getByName(new URL(request.url).pathname.slice(1)).fetch(request),
};
