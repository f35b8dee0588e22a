import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject {
  async take(r) { return [r instanceof Request, r.method, r.url, [...r.headers], await r.text()]; }
  headers(h) { h.set('b', '2'); return h; }
  give(status, body) { return new Response(body, { status, statusText: 'said', headers: [['b', 'c'], ['set-cookie', 'x=1'], ['set-cookie', 'y=2']] }); }
  streamed() { let i = 0; return new Response(new ReadableStream({ pull(c) { if (i === 3) c.close(); else c.enqueue(new TextEncoder().encode(`part ${i++} `)); } })); }
  both(a, b) { return { url: a.url, other: b }; }
  blob(b) { return [b instanceof Blob, b.size, b.type]; }
  async pass(r) { return new Response(r.body, r); }
}
export default async (print, env) => {
  const o = env.Obj.getByName('a');
  print(await o.take(new Request('http://x/y?z=1', { method: 'PUT', headers: { a: '1' }, body: 'whole' })));
  print(await o.take(new Request('http://x/get')));
  print(await o.take(new Request('http://x/y', { method: 'POST', body: new Response('from a stream').body })));
  const h = new Headers({ a: '1' }), changed = await o.headers(h);
  print(changed instanceof Headers, [...changed], [...h]);
  const r = await o.give(203, 'given');
  print(r instanceof Response, r.status, r.statusText, r.ok, r.headers.get('b'), r.headers.getSetCookie(), r.bodyUsed, await r.text(), r.bodyUsed);
  print((await o.give(204, null)).body, await (await o.give(500, new Uint8Array([65]))).text());
  print(await (await o.streamed()).text());
  const both = await o.both(new Request('http://one/'), new Response('two'));
  print(both.url, await both.other.text());
  const b = await o.blob(new Blob(['abc'], { type: 'text/plain' }));
  print(b);
  print(await (await o.pass(new Response('there and back', { headers: { k: 'v' } }))).text());
  const used = new Request('http://x/', { method: 'POST', body: 'once' });
  await o.take(used);
  print(used.bodyUsed);
  try { await o.take(used); } catch (e) { print(e.name); }
};
