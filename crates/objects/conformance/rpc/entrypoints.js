import { DurableObject, WorkerEntrypoint } from "cloudflare:workers";
export class Entry extends WorkerEntrypoint { hello(n) { return `hello ${n} ${this.env.TEXT} ${typeof this.ctx.waitUntil}`; } fetch() { return new Response('entry'); } }
export default async (print, env) => { print(await env.Entry.hello('x'), await (await env.Entry.fetch('http://x/')).text()); };
