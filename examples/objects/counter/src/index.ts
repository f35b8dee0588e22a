// A counter for every path: GET reads it, POST adds one. What POST has answered is on disk.
import { DurableObject } from "cloudflare:workers";

interface Env {
  COUNTERS: DurableObjectNamespace<Counter>;
}

export class Counter extends DurableObject<Env> {
  private value = 0;

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    ctx.blockConcurrencyWhile(async () => {
      this.value = (await ctx.storage.get<number>("value")) ?? 0;
    });
  }

  async fetch(request: Request): Promise<Response> {
    if (request.method === "POST") {
      this.value += 1;
      this.ctx.storage.put("value", this.value);
    }
    return new Response(`${this.value}\n`);
  }
}

export default {
  async fetch(request: Request, env: Env): Promise<Response> {
    if (request.method !== "GET" && request.method !== "POST") {
      return new Response("GET reads, POST adds one\n", { status: 405 });
    }
    const counter = env.COUNTERS.getByName(new URL(request.url).pathname);
    return counter.fetch(request);
  },
};
