import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject {
  async fetch() { const { readable, writable } = new TransformStream(); const w = writable.getWriter(); (async () => { for (let i = 0; i < 3; i++) { await w.write(new TextEncoder().encode(`part ${i};`)); await new Promise((r) => setTimeout(r, 1)); } await w.close(); })(); return new Response(readable); }
}
export default async (print, env) => { const r = await env.Obj.getByName('a').fetch('http://x/'); print(await r.text()); };
