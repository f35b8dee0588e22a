import { DurableObject } from "cloudflare:workers";
class Point { constructor(x) { this.x = x; } norm() { return this.x; } }
export class Obj extends DurableObject { async run() { const s = this.ctx.storage; await s.put('p', new Point(3)); const p = await s.get('p'); await s.put('d', new Date(0)); return [p, p instanceof Point, (await s.get('d')).toISOString()]; } }
export default async (print, env) => { print(await env.Obj.getByName('a').run()); };
