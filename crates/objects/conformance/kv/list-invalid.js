import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { async run() { const s = this.ctx.storage, out = []; for (const o of [{ limit: 0 }, { limit: -1 }, { start: 'a', startAfter: 'b' }, { limit: 'x' }, { prefix: 5 }, { reverse: 'yes' }]) try { await s.list(o); out.push('fine'); } catch (e) { out.push(e.name); } return out; } }
export default async (print, env) => { print(await env.Obj.getByName('a').run()); };
