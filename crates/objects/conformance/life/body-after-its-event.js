import { DurableObject } from "cloudflare:workers";
const told = async (read) => { try { return await read(); } catch (e) { return `${e.name}: ${e.message}`; } };
const LENGTH = 400000;
export class Obj extends DurableObject {
  log = [];
  async fetch(request) {
    switch (new URL(request.url).pathname) {
      case '/keep': this.kept = request; return new Response('kept');
      case '/part': this.reader = request.body.getReader(); return new Response(String((await this.reader.read()).value.length > 0));
      case '/pending': this.pending = told(async () => (await request.bytes()).length); return new Response('pending');
      case '/wait-until': this.ctx.waitUntil(this.pending = scheduler.wait(20).then(() => told(async () => (await request.bytes()).length))); return new Response('waits');
      case '/clone': this.kept = request.clone(); return new Response('cloned');
      case '/throw': this.kept = request; throw new Error('thrown');
      case '/endless': return new Response(new ReadableStream({ type: 'bytes', async pull(c) { await scheduler.wait(1); c.enqueue(new Uint8Array(1000)); } }));
    }
  }
  keptText() { return told(async () => (await this.kept.bytes()).length); }
  readMore() { return told(async () => (await this.reader.read()).done); }
  settled() { return this.pending; }
  async pull(name) { this.response = await this.env.Obj.getByName(name).fetch('http://x/endless'); return this.response.status; }
  async first() { this.reader = this.response.body.getReader(); return (await this.reader.read()).value.length > 0; }
  async next() { return (await this.reader.read()).value.length > 0; }
}
export default async (print, env) => {
  const o = env.Obj.getByName('a');
  let cancelled = [];
  const ask = async (path) => {
    let left = LENGTH;
    const body = new ReadableStream({ type: 'bytes', async pull(c) { await scheduler.wait(1); const n = Math.min(left, 20000); c.enqueue(new Uint8Array(n)); if ((left -= n) <= 0) c.close(); }, cancel(reason) { cancelled.push(`${reason}`); } });
    return told(async () => (await o.fetch(`http://x${path}`, { method: 'POST', body })).text());
  };
  print(await ask('/keep'), await o.keptText());
  print(await ask('/part'), await o.readMore());
  print(await ask('/pending'), await o.settled());
  print(await ask('/wait-until'), await o.settled());
  print(await ask('/clone'), await o.keptText());
  print(await ask('/throw'), await o.keptText());
  for (let i = 0; i < 50 && cancelled.length < 6; i++) await scheduler.wait(5);
  print(cancelled);
  const other = env.Obj.getByName('b');
  print(await other.pull('a'), await other.first(), await other.next());
};
