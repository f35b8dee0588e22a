import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { hello() { return 'hi'; } }
export default async (print, env) => {
  const o = env.Obj.getByName('a');
  try { await o.fetch('http://x/'); print('fine'); } catch (e) { print(e instanceof Error); }
  try { await o.none(); print('fine'); } catch (e) { print(e.name); }
  print(await o.hello());
};
