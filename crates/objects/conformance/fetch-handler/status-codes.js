import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { fetch(r) { return new Response(null, { status: Number(new URL(r.url).pathname.slice(1)) }); } }
export default async (print, env) => { const o = env.Obj.getByName('a'); for (const s of [200, 201, 204, 301, 304, 400, 404, 418, 500, 503, 599]) { const r = await o.fetch('http://x/' + s, { redirect: 'manual' }); print(r.status, r.ok); } };
