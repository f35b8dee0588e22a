import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { n = 0; inc() { return ++this.n; } }
export default async (print, env) => {
  const a = env.Obj.getByName('a'), b = env.Obj.getByName('b');
  print(await a.inc(), await a.inc(), await b.inc(), await env.Obj.getByName('a').inc());
};
