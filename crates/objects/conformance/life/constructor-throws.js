import { DurableObject } from "cloudflare:workers";
let times = 0;
export class Obj extends DurableObject { constructor(ctx, env) { super(ctx, env); if (++times === 1) throw new RangeError('first'); } hello() { return 'made at ' + times; } }
export default async (print, env) => {
  try { await env.Obj.getByName('a').hello(); print('fine'); } catch (e) { print(e.name, e.message); }
  print(await env.Obj.getByName('a').hello());
};
