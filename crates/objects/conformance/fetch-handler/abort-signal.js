import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { async fetch() { await new Promise((r) => setTimeout(r, 2000)); return new Response('slow'); } }
export default async (print, env) => { const c = new AbortController(); const p = env.Obj.getByName('a').fetch('http://x/', { signal: c.signal }); setTimeout(() => c.abort(), 20); try { await p; print('fine'); } catch (e) { print(e.name); } try { await env.Obj.getByName('a').fetch('http://x/', { signal: AbortSignal.abort() }); print('fine'); } catch (e) { print(e.name); } };
