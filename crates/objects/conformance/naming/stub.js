import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { who() { return [this.ctx.id.name, this.ctx.id.toString()]; } }
export class Other extends DurableObject { }
export default async (print, env) => {
  const id = env.Obj.idFromName('n'); const s = env.Obj.get(id); print(s.id.equals(id), s.name, (await s.who())[0], (await s.who())[1] === id.toString());
  const u = env.Obj.newUniqueId(); const t = env.Obj.get(u); print(t.name, (await t.who())[0], (await t.who())[1] === u.toString());
  const f = env.Obj.get(env.Obj.idFromString(id.toString())); print((await f.who())[1] === id.toString());
  for (const bad of [undefined, 'x', {}, env.Other.idFromName('n')]) try { env.Obj.get(bad); print('fine'); } catch (e) { print(e.name); }
};
