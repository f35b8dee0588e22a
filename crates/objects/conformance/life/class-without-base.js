import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject { }
export default async (print, env) => { print(typeof env.Obj.getByName('x').anything, typeof env.Obj.getByName('x').fetch, typeof env.Obj.getByName('x').id); };
