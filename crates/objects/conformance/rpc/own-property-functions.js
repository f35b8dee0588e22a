import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { constructor(ctx, env) { super(ctx, env); this.instance = () => 'secret'; } }
export default async (print, env) => { try { print(await env.Obj.getByName('a').instance()); } catch (e) { print(e.name); } };
