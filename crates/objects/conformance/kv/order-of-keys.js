import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { async run() { const s = this.ctx.storage; for (const k of ['b', 'B', 'a', '10', '9', '', 'é', 'z', '😀', '\uffff', 'aa', 'a\u0000b']) if (k !== '') await s.put(k, 1); return [...(await s.list()).keys()].map((k) => escape(k)); } }
const escape = (k) => [...k].map((c) => c.codePointAt(0).toString(16)).join('.');
export default async (print, env) => { print(await env.Obj.getByName('a').run()); };
