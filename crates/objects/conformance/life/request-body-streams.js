import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { async fetch(request) { let n = 0, parts = 0; for await (const c of request.body) { n += c.length; parts++; } return Response.json({ n, some: parts > 0 }); } }
export default async (print, env) => {
  const body = new ReadableStream({ start(c) { for (let i = 0; i < 5; i++) c.enqueue(new Uint8Array(1000)); c.close(); } });
  print(await (await env.Obj.getByName('a').fetch('http://x/', { method: 'POST', body })).json());
};
