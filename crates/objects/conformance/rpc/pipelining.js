import { DurableObject, RpcTarget } from "cloudflare:workers";
class Box extends RpcTarget { constructor(v) { super(); this.v = v; } get() { return this.v; } }
export class Obj extends DurableObject { box(v) { return new Box(v); } nested() { return { deep: { value: 7 } }; } }
export default async (print, env) => { const o = env.Obj.getByName('a'); print(await o.box('piped').get()); print(await o.nested().deep.value); };
