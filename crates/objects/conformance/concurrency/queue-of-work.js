import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { tail = Promise.resolve(); log = []; add(n) { const mine = this.tail.then(async () => { this.log.push('begin ' + n); await new Promise((r) => setTimeout(r, 2)); this.log.push('end ' + n); }); this.tail = mine; return mine; } look() { return this.log; } }
export default async (print, env) => { const o = env.Obj.getByName('a'); await Promise.all([o.add(1), o.add(2), o.add(3)]); print(await o.look()); };
