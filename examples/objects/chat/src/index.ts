import { DurableObject } from "cloudflare:workers";
import { Room } from "./room";

interface Env {
  ROOMS: DurableObjectNamespace<Room>;
}

export { Room };

export default {
  async fetch(request: Request, env: Env): Promise<Response> {
    const [, room, what] = new URL(request.url).pathname.split("/");
    if (!room) {
      return new Response("/ROOM/socket?name=NAME to talk, /ROOM/history to read\n", { status: 404 });
    }
    const stub = env.ROOMS.getByName(room);
    switch (what) {
      case "socket":
        return stub.fetch(request);
      case "history":
        return Response.json(await stub.history());
      default:
        return new Response("no such page\n", { status: 404 });
    }
  },
} satisfies ExportedHandler<Env>;
