import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { constructor(ctx, env) { super(ctx, env); throw new RangeError('always'); } hello() { return 'hello'; } }
export default async (print, env) => { for (let i = 0; i < 2; i++) try { await env.Obj.getByName('a').hello(); print('fine'); } catch (e) { print(e.name, e.message); } };
