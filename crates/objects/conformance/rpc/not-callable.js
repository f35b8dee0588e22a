import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { field = 5; #hidden() { return 1; } method() { return 'm'; } get getter() { return () => 'from getter'; } }
export default async (print, env) => { const o = env.Obj.getByName('a'); for (const n of ['method', 'none', 'field', 'toString', 'hasOwnProperty', '__proto__', 'ctx', 'env', 'constructor2']) try { print(n, await o[n]()); } catch (e) { print(n, e.name); } };
