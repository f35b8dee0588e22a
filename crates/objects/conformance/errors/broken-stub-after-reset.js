import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { hi() { return 'hi'; } die() { this.ctx.abort('gone'); } }
export default async (print, env) => { const o = env.Obj.getByName('a'); await o.hi(); try { await o.die(); } catch {} try { print(await o.hi()); } catch (e) { print('broken', e.message); } print(await env.Obj.getByName('a').hi()); };
