import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { go() { throw new DOMException('stopped', 'AbortError'); } }
export default async (print, env) => { try { await env.Obj.getByName('a').go(); } catch (e) { print(e.name, e.message); } };
