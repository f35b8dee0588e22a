import { DurableObject, WorkerEntrypoint, RpcTarget, exports } from "cloudflare:workers";
class Box extends RpcTarget { constructor(v) { super(); this.v = v; } get() { return this.v; } }
export class Entry extends WorkerEntrypoint {
  hello(n) { return `hello ${n} ${JSON.stringify(this.ctx.props)} ${this.env.TEXT}`; }
  get prop() { return 'property'; }
  box() { return new Box('boxed'); }
  async call(f) { return f(2); }
  boom() { throw new TypeError('thrown'); }
  mutate(o) { o.changed = true; return o; }
  async object() { return this.env.Obj.getByName('e').called(); }
  async fetch(request) { return new Response(`${request.method} ${new URL(request.url).pathname} ${await request.text()}`, { status: 201, headers: { a: 'b' } }); }
}
export class Obj extends DurableObject { called() { return `object ${this.ctx.id.name}`; } async entry() { return this.env.Entry.hello('from an object'); } async loopback() { return this.ctx.exports.Entry({ props: { from: this.ctx.id.name } }).hello('loopback'); } }
export default async (print, env, ctx) => {
  print(await env.Entry.hello('binding'), await env.Entry.prop, await env.Entry.box().get(), await env.Entry.call((n) => n * 2));
  const o = { a: 1 };
  print(await env.Entry.mutate(o), o);
  const r = await env.Entry.fetch('http://host/path', { method: 'POST', body: 'sent' });
  print(r.status, r.headers.get('a'), await r.text());
  for (const n of ['boom', 'none']) try { await env.Entry[n](); } catch (e) { print(e.name, e.message, e.remote); }
  print(Object.prototype.toString.call(env.Entry), typeof env.Entry);
  print(['default', 'Entry', 'Obj'].map((n) => Object.keys(ctx.exports).includes(n)), typeof ctx.exports.None);
  print(await ctx.exports.Entry.hello('export'), await ctx.exports.Entry({ props: { x: [1] } }).hello('props'), await (await ctx.exports.Entry.fetch('http://x/y')).text());
  print(await ctx.exports.Obj.getByName('q').called(), await ctx.exports.Obj.get(ctx.exports.Obj.idFromName('q')).called());
  print(await exports.Entry.hello('imported'));
  print(await env.Obj.getByName('a').entry(), await env.Obj.getByName('a').loopback(), await env.Entry.object());
};
