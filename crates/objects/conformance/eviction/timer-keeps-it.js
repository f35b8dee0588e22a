import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { n = 0; start() { this.timer = setInterval(() => { this.n++; }, 500); } stop() { clearInterval(this.timer); return this.n > 10; } }
export default async (print, env) => { const o = env.Obj.getByName('a'); await o.start(); await new Promise((r) => setTimeout(r, 7000)); print(await o.stop()); };
