import { DurableObject, RpcTarget } from "cloudflare:workers";
const told = async (run) => { try { return await run(); } catch (e) { return `${e.name}: ${e.message}`; } };
class Box extends RpcTarget { constructor(log) { super(); this.log = log; } [Symbol.dispose]() { this.log.push('disposed'); } }
export class Obj extends DurableObject {
  log = [];
  ignore() { return 'ignored'; }
  keep(s) { this.s = s; return 'kept'; }
  keepRequest(r) { this.r = r; return 'kept'; }
  readRequest() { return this.r.text(); }
  async read() { this.reader ??= this.s.getReader(); return (await this.reader.read()).value.length > 0; }
  async write() { this.writer ??= this.s.getWriter(); await this.writer.write(new Uint8Array(5)); return 'written'; }
  give() { return { s: new ReadableStream({ type: 'bytes', pull: async (c) => { await scheduler.wait(1); c.enqueue(new Uint8Array(10)); } }), box: new Box(this.log) }; }
  logs() { return this.log; }
}
export default async (print, env) => {
  const source = (log) => new ReadableStream({ type: 'bytes', async pull(c) { await scheduler.wait(1); c.enqueue(new Uint8Array(10)); }, cancel(reason) { log.push(`cancelled ${reason}`); } });
  const sink = (log) => new WritableStream({ write(part) { log.push(part.byteLength); } });
  const within = async (log) => { for (let i = 0; i < 50 && log.length === 0; i++) await scheduler.wait(5); return log; };
  const o = env.Obj.getByName('a');
  let log = [];
  print(await told(() => o.nothing(source(log))), await within(log));
  log = [];
  print(await told(() => o.ignore(source(log), Symbol('x'))), await within(log));
  log = [];
  print(await told(() => o.ignore(new Box(log), Symbol('x'))), await within(log));
  log = [];
  const a = env.Obj.getByName('b'), b = env.Obj.getByName('c');
  print(await a.keep(source(log)), await a.read());
  await scheduler.wait(30);
  print(await a.read(), log);
  print(await b.keep(sink(log)), await b.write());
  await scheduler.wait(30);
  print(await b.write(), log);
  print(await o.keepRequest(new Request('http://x/', { method: 'POST', body: 'hello' })), await o.readRequest());
  const given = await o.give();
  given[Symbol.dispose]();
  print((await given.s.getReader().read()).value.length > 0, await within(await o.logs()));
};
