import { DurableObject, WorkerEntrypoint, RpcTarget, env } from "cloudflare:workers";
export default (print, given) => {
  print(typeof DurableObject, typeof WorkerEntrypoint, typeof RpcTarget, typeof env, env.TEXT === given.TEXT);
  print(Object.getPrototypeOf(class extends DurableObject {}) === DurableObject);
};
