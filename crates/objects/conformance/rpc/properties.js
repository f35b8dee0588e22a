import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { get answer() { return 42; } get list() { return [1, 2]; } }
export default async (print, env) => { const o = env.Obj.getByName('a'); print(await o.answer, await o.list); };
