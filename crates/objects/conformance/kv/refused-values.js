import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject {
  async run() { const s = this.ctx.storage, out = []; for (const [n, v] of [['function', () => 1], ['symbol', Symbol('x')], ['undefined', undefined], ['nested', { f() {} }], ['promise', Promise.resolve()], ['weak', new WeakMap()]]) try { await s.put('k', v); out.push(n + ' fine'); } catch (e) { out.push(n + ' ' + e.name); } out.push(await s.get('k')); return out; }
}
export default async (print, env) => { print(await env.Obj.getByName('a').run()); };
