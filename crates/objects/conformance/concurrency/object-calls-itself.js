import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { depth(n) { return n === 0 ? 'end' : this.env.Obj.getByName('a').depth(n - 1); } }
export default async (print, env) => { print(await env.Obj.getByName('a').depth(3)); };
