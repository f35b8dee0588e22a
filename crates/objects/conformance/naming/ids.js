import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { }
export class Other extends DurableObject { }
export default (print, env) => {
  const a = env.Obj.idFromName('a'), b = env.Obj.idFromName('a'), u = env.Obj.newUniqueId(), v = env.Obj.newUniqueId();
  print(/^[0-9a-f]{64}$/.test(a.toString()), a.equals(b), a.toString() === String(b), u.equals(v), /^[0-9a-f]{64}$/.test(String(u)), a.name, u.name);
  print(env.Obj.idFromString(a.toString()).equals(a), env.Obj.idFromString(a.toString()).name, env.Obj.idFromName('').toString().length, env.Obj.idFromName('x').equals(env.Obj.idFromName('y')), env.Other.idFromName('a').toString() === a.toString());
  for (const bad of ['zz', '', '0'.repeat(64), 'f'.repeat(63), env.Other.idFromName('a').toString()]) try { env.Obj.idFromString(bad); print('fine'); } catch (e) { print(e.name); }
};
