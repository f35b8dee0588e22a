import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { async chain(names) { const [next, ...rest] = names; const me = this.ctx.id.name; return next === undefined ? me : `${me}>${await this.env.Obj.getByName(next).chain(rest)}`; } }
export default async (print, env) => { print(await env.Obj.getByName('a').chain(['b', 'c', 'd'])); };
