import { DurableObject } from "cloudflare:workers";
export default (print, env, ctx, request) => { print(request === null ? 'none' : [request.method, new URL(request.url).pathname, request instanceof Request, typeof request.headers.get('host')]); };
