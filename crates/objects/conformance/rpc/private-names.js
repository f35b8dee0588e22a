import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { fetch() { return new Response('f'); } alarm() { return 'alarm'; } webSocketMessage() { return 'm'; } dup() { return 'dup'; } then() { return 'then'; } }
export default async (print, env) => { const o = env.Obj.getByName('a'); for (const n of ['alarm', 'webSocketMessage', 'dup']) try { const v = await o[n](); print(n, typeof v); } catch (e) { print(n, e.name); } };
