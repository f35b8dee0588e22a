// The module "cloudflare:workers". Evaluated before any module of the user, while the global is there.
const exported = globalThis.__workers;
export const { DurableObject, WorkerEntrypoint, RpcTarget, RpcStub, env, exports, waitUntil } = exported;
