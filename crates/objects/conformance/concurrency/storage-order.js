import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { async run() { const s = this.ctx.storage, log = []; const a = s.put('a', 1).then(() => log.push('put a')); const b = s.get('a').then((v) => log.push('get ' + v)); const c = s.delete('a').then((v) => log.push('delete ' + v)); const d = s.get('a').then((v) => log.push('get ' + v)); await Promise.all([a, b, c, d]); return log.sort(); } }
export default async (print, env) => { print(await env.Obj.getByName('a').run()); };
