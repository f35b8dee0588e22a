import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { async fetch(request) { const b = await request.bytes(); let sum = 0; for (let i = 0; i < b.length; i += 4096) sum += b[i]; return new Response(b, { headers: { sum: String(sum) } }); } }
export default async (print, env) => {
  const body = new Uint8Array(1 << 20).fill(3); const r = await env.Obj.getByName('a').fetch('http://x/', { method: 'POST', body }); const back = await r.bytes(); print(r.headers.get('sum'), back.length, back[12345]);
};
