import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { done = false; start() { this.ctx.waitUntil((async () => { await new Promise((r) => setTimeout(r, 10)); this.done = true; })()); return this.done; } look() { return this.done; } }
export default async (print, env, ctx) => { const o = env.Obj.getByName('a'); print(await o.start()); await new Promise((r) => setTimeout(r, 60)); print(await o.look()); ctx.waitUntil(Promise.resolve()); print(typeof ctx.waitUntil, typeof ctx.passThroughOnException); };
