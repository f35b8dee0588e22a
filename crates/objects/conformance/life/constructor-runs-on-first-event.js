import { DurableObject } from "cloudflare:workers";
let made = 0;
export class Obj extends DurableObject { constructor(ctx, env) { super(ctx, env); made++; this.text = env.TEXT; } look() { return [made, this.text, this.ctx !== undefined, this.env.TEXT]; } }
export default async (print, env) => {
  const stub = env.Obj.get(env.Obj.idFromName('a')); print(made); print(await stub.look()); print(await stub.look()); print(await env.Obj.getByName('b').look());
};
