import { DurableObject } from "cloudflare:workers";
let made = 0;
export class Obj extends DurableObject { constructor(ctx, env) { super(ctx, env); made++; } async slow() { await new Promise((r) => setTimeout(r, 1000)); return 'slow'; } die() { this.ctx.abort('the reason'); } made() { return made; } }
export default async (print, env) => { const o = env.Obj.getByName('a'); await o.made(); const slow = o.slow().then(() => 'fine', (e) => e.message); const die = o.die().then(() => 'fine', (e) => e.message); print(await slow, await die); print(await env.Obj.getByName('a').made()); };
