// A token bucket for every client. A client that waits long enough is forgotten.
import { DurableObject } from "cloudflare:workers";

interface Env {
  LIMITERS: DurableObjectNamespace<Limiter>;
  BURST: number;
  EVERY_MS: number;
}

interface Bucket {
  tokens: number;
  at: number;
}

export class Limiter extends DurableObject<Env> {
  /** How long to wait before the next request, in milliseconds. 0: go on. */
  async take(): Promise<number> {
    const now = Date.now();
    const { BURST, EVERY_MS } = this.env;
    const bucket = this.ctx.storage.kv.get<Bucket>("bucket") ?? { tokens: BURST, at: now };
    const tokens = Math.min(BURST, bucket.tokens + (now - bucket.at) / EVERY_MS);
    if (tokens < 1) {
      return Math.ceil((1 - tokens) * EVERY_MS);
    }
    this.ctx.storage.kv.put("bucket", { tokens: tokens - 1, at: now });
    await this.ctx.storage.setAlarm(now + BURST * EVERY_MS);
    return 0;
  }

  /** The bucket is full again: there is nothing to remember. */
  async alarm(): Promise<void> {
    await this.ctx.storage.deleteAll();
  }
}

export default {
  async fetch(request: Request, env: Env): Promise<Response> {
    const client = request.headers.get("x-client") ?? request.headers.get("cf-connecting-ip") ?? "unknown";
    const wait = await env.LIMITERS.getByName(client).take();
    if (wait > 0) {
      return new Response("slow down\n", { status: 429, headers: { "retry-after": String(Math.ceil(wait / 1000)) } });
    }
    return new Response("go on\n");
  },
};
