import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject {
  async fetch(request) { return new Response(`${request.method} ${new URL(request.url).pathname} ${request.headers.get('x-a')} ${await request.text()}`, { status: 201, headers: { 'x-b': 'c' } }); }
}
export default async (print, env) => {
  const r = await env.Obj.getByName('a').fetch('http://x/path?q', { method: 'POST', headers: { 'x-a': '1' }, body: 'body' });
  print(r.status, r.headers.get('x-b'), await r.text());
  const s = await env.Obj.getByName('a').fetch(new Request('http://y/other')); print(await s.text());
};
