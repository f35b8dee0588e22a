import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { stream() { return new Response('streamed').body; } async read(s) { return new Response(s).text(); } }
export default async (print, env) => { const o = env.Obj.getByName('a'); print(await new Response(await o.stream()).text()); print(await o.read(new Response('sent').body)); };
