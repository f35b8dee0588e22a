// A network between browser and server that can be cut.

import { once } from "node:events";
import { connect, createServer } from "node:net";

/** Passes connections on to `address` until it is cut; give the result's `close` to `after`. */
export async function startNetwork(address) {
  const target = new URL(address);
  const open = new Set();
  let up = true;
  const server = createServer((near) => {
    if (!up) {
      near.destroy();
      return;
    }
    const far = connect(Number(target.port), target.hostname);
    for (const [one, other] of [[near, far], [far, near]]) {
      open.add(one);
      one.on("error", () => other.destroy());
      one.on("close", () => { open.delete(one); other.destroy(); });
      one.pipe(other);
    }
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const cut = () => {
    up = false;
    for (const socket of open) socket.destroy();
  };
  return {
    address: `http://localhost:${server.address().port}`,
    cut,
    mend() { up = true; },
    async close() {
      cut();
      server.close();
      await once(server, "close");
    },
  };
}
