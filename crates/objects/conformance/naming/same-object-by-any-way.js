import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { n = 0; inc() { return ++this.n; } }
export default async (print, env) => {
  const id = env.Obj.idFromName('k'); print(await env.Obj.get(id).inc(), await env.Obj.getByName('k').inc(), await env.Obj.get(env.Obj.idFromString(String(id))).inc(), await env.Obj.get(env.Obj.idFromName('k'), { locationHint: 'weur' }).inc());
};
