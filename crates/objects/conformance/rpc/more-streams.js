import { DurableObject } from "cloudflare:workers";
const text = (bytes) => new TextDecoder().decode(bytes);
export class Obj extends DurableObject {
  async read(s) { return new Response(s).text(); }
  async first(s) { const r = s.getReader(); const { value } = await r.read(); await r.cancel('enough'); return text(value); }
  numbers(n) { let i = 0; return new ReadableStream({ pull(c) { if (i === n) c.close(); else c.enqueue(`${i++},`); } }); }
  big(n) { const part = new Uint8Array(1000); let i = 0; return new ReadableStream({ type: 'bytes', pull(c) { if (i === n) c.close(); else c.enqueue(part.slice().fill(i++ % 7)); } }); }
  broken() { return new ReadableStream({ pull(c) { c.error(new TypeError('source')); } }); }
  async write(w, ...parts) { const writer = w.getWriter(); for (const part of parts) await writer.write(new TextEncoder().encode(part)); await writer.close(); return 'written'; }
  sink() { const { readable, writable } = new IdentityTransformStream(); this.got = new Response(readable).text(); return writable; }
  result() { return this.got; }
  pipe(r, w) { return r.pipeTo(w).then(() => 'piped'); }
}
export default async (print, env) => {
  const o = env.Obj.getByName('a');
  const sent = new Response('sent').body, reading = o.read(sent);
  print(sent.locked, await reading);
  print(await o.read(new ReadableStream({ type: 'bytes', start(c) { c.enqueue(new Uint8Array([65, 66])); c.close(); } })), await o.read(new Response('').body ?? new Blob([]).stream()));
  print(await new Response(await o.numbers(20)).text());
  let total = 0, sum = 0;
  for await (const chunk of await o.big(700)) { total += chunk.length; for (const byte of chunk) sum += byte; }
  print(total, sum);
  try { const r = (await o.broken()).getReader(); await r.read(); } catch (e) { print(e.name, e.message); }
  let cancelled = 'not';
  print(await o.first(new ReadableStream({ type: 'bytes', pull(c) { c.enqueue(new TextEncoder().encode('part')); }, cancel() { cancelled = 'cancelled'; } })));
  for (let i = 0; i < 50 && cancelled === 'not'; i++) await scheduler.wait(5);
  print(cancelled);
  const { readable, writable } = new IdentityTransformStream(), all = new Response(readable).text();
  print(await o.write(writable, 'a', 'bc', 'def'), await all, writable.locked);
  const w = (await o.sink()).getWriter();
  await w.write(new TextEncoder().encode('to there'));
  await w.close();
  print(await o.result());
  const t = new IdentityTransformStream(), piped = new Response(t.readable).text();
  print(await o.pipe(new Response('both ways').body, t.writable), await piped);
  const locked = new Response('x').body; locked.getReader();
  try { await o.read(locked); } catch (e) { print(e.name); }
};
