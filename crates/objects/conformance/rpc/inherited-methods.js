import { DurableObject } from "cloudflare:workers";
class Base extends DurableObject { base() { return 'base'; } both() { return 'base'; } }
class Middle extends Base { both() { return `middle over ${super.both()}`; } }
const Made = Middle;
export class Obj extends DurableObject { both() { return Made.prototype.both.call(this.#stand()); } #stand() { return Object.create(Made.prototype); } }
export default async (print, env) => { print(await env.Obj.getByName('a').both()); try { print(await env.Obj.getByName('a').base()); } catch (e) { print(e.name); } };
