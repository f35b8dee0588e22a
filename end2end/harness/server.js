// A server that a test kills and starts again on the same data, with a host of its own. The build and the page are those of
// a Berth that `startBerth` has started.

import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { openSync } from "node:fs";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { promisify } from "node:util";

import { fileWithin } from "./berth.js";
import { enrolHost } from "./host.js";

const run = promisify(execFile);
const HOST = "own-1";
const EMAIL = "owner@example.org";

async function freePorts(count) {
  const held = await Promise.all(Array.from({ length: count }, async () => {
    const server = createServer();
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    return server;
  }));
  const ports = held.map((server) => server.address().port);
  await Promise.all(held.map((server) => { server.close(); return once(server, "close"); }));
  return ports;
}

/** Starts server and agent; `kill` ends the server at once, `start` starts it again; give `stop` to `after`. */
export async function startServer(berth, offer = {}) {
  const folder = await mkdtemp(join(berth.folder, "server-"));
  const [port, agents] = await freePorts(2);
  const address = `http://localhost:${port}`;
  const [program, config, ready] = [join(berth.bin, "berth-server"), join(folder, "server.toml"), join(folder, "ready")];
  const site = /^site_dir = .*$/m.exec(await readFile(join(berth.data, "server.toml"), "utf8"))[0];
  await mkdir(join(folder, "data"));
  await writeFile(config, [
    `listen = "127.0.0.1:${port}"`, `public_url = "${address}"`, `data_dir = ${JSON.stringify(join(folder, "data"))}`, site,
    "[agents]", `listen = "127.0.0.1:${agents}"`, 'names = ["localhost", "127.0.0.1"]', "",
  ].join("\n"));
  let child;
  const start = async () => {
    await rm(ready, { force: true });
    const log = openSync(join(folder, "server.log"), "a");
    child = spawn(program, ["--config", config, "run", "--ready-file", ready], { stdio: ["ignore", log, log] });
    await fileWithin(folder, ready, async () => readFile(ready, "utf8"));
  };
  const kill = async (signal = "SIGKILL") => {
    const ended = once(child, "exit");
    child.kill(signal);
    await ended;
  };
  const admin = async (...args) => (await run(program, ["--config", config, "admin", ...args])).stdout.trim();
  await start();
  await admin("create", "--email", EMAIL, "--name", "Own Admin");
  const zero = join(folder, "zero.toml");
  await admin("zero-certificate", "--uses", "1", "--hours", "1", "--out", zero);
  const host = await enrolHost({ ...berth, folder }, HOST, await readFile(zero, "utf8"), offer);
  host.start();
  return {
    address, start, kill, sign_in: await admin("link", "--email", EMAIL),
    async stop() {
      await host.stop();
      await host.clear();
      await kill("SIGTERM");
    },
  };
}
