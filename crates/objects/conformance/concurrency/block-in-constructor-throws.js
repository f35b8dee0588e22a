import { DurableObject } from "cloudflare:workers";
export class Gate extends DurableObject { tries = 0; next() { return ++this.tries; } }
export class Obj extends DurableObject { constructor(ctx, env) { super(ctx, env); ctx.blockConcurrencyWhile(async () => { this.n = await env.Gate.getByName('g').next(); if (this.n === 1) throw new Error('not yet'); }); } hi() { return 'hi ' + this.n; } }
export default async (print, env) => { try { await env.Obj.getByName('a').hi(); print('fine'); } catch (e) { print(e.message); } print(await env.Obj.getByName('a').hi()); };
