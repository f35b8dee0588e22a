import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { fetch(r) { const p = new URL(r.url).pathname; return p === '/text' ? 'text' : p === '/nothing' ? undefined : Promise.resolve({}); } }
export default async (print, env) => { for (const p of ['/text', '/nothing', '/object']) try { await env.Obj.getByName('a').fetch('http://x' + p); print('fine'); } catch (e) { print(e.name); } };
