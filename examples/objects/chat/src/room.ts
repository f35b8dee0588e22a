import { DurableObject } from "cloudflare:workers";

const KEPT = 100;

export type Message = { from: string; text: string; at: number };
type Member = { name: string };

export class Room extends DurableObject {
  constructor(ctx: DurableObjectState, env: unknown) {
    super(ctx, env);
    ctx.storage.sql.exec(
      "CREATE TABLE IF NOT EXISTS messages (id INTEGER PRIMARY KEY, sender TEXT NOT NULL, text TEXT NOT NULL, at INTEGER NOT NULL)",
    );
    ctx.setWebSocketAutoResponse(new WebSocketRequestResponsePair("ping", "pong"));
  }

  async fetch(request: Request): Promise<Response> {
    if (request.headers.get("upgrade") !== "websocket") {
      return new Response("this is a WebSocket\n", { status: 426 });
    }
    const name = new URL(request.url).searchParams.get("name") ?? "somebody";
    const { 0: client, 1: server } = new WebSocketPair();
    this.ctx.acceptWebSocket(server, [name]);
    server.serializeAttachment({ name } satisfies Member);
    this.tell({ from: "room", text: `${name} is here`, at: Date.now() });
    return new Response(null, { status: 101, webSocket: client });
  }

  history(): Message[] {
    const rows = this.ctx.storage.sql.exec("SELECT sender, text, at FROM messages ORDER BY id DESC LIMIT ?", KEPT);
    return rows.toArray().reverse().map((row) => ({ from: String(row.sender), text: String(row.text), at: Number(row.at) }));
  }

  webSocketMessage(socket: WebSocket, data: string | ArrayBuffer): void {
    const { name } = socket.deserializeAttachment() as Member;
    const text = typeof data === "string" ? data : new TextDecoder().decode(data);
    const message: Message = { from: name, text, at: Date.now() };
    const { sql } = this.ctx.storage;
    sql.exec("INSERT INTO messages (sender, text, at) VALUES (?, ?, ?)", name, text, message.at);
    sql.exec("DELETE FROM messages WHERE id <= (SELECT max(id) FROM messages) - ?", KEPT);
    this.tell(message);
  }

  webSocketClose(socket: WebSocket, code: number, reason: string): void {
    const { name } = socket.deserializeAttachment() as Member;
    socket.close(code === 1005 ? 1000 : code, reason);
    this.tell({ from: "room", text: `${name} has left`, at: Date.now() });
  }

  private tell(message: Message): void {
    const text = JSON.stringify(message);
    for (const socket of this.ctx.getWebSockets()) {
      socket.send(text);
    }
  }
}
