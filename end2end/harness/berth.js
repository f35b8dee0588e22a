// A whole Berth for tests: `xtask dev` with a data folder of its own on free ports.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, watch } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

// A cold build may come first.
const START_MS = 20 * 60_000;
const STOP_MS = 60_000;

/** Starts server and agents; give the result's `stop` to `after`. */
export async function startBerth({ agents = 1, demo = false } = {}) {
  const folder = await mkdtemp(join(tmpdir(), "berth-end2end-"));
  const readyFile = join(folder, "ready.json");
  const options = ["--data", join(folder, "data"), "--port", "0", "--agents", String(agents), "--ready-file", readyFile];
  const child = launch(["dev", ...options, ...(demo ? ["--demo"] : [])]);
  let said = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (text) => { said += text; });
  const ended = once(child, "exit");

  const stop = async () => {
    if (child.exitCode === null) {
      child.kill("SIGTERM");
      const timer = setTimeout(() => child.kill("SIGKILL"), STOP_MS);
      await ended;
      clearTimeout(timer);
    }
    await rm(folder, { recursive: true, force: true });
  };
  try {
    const ready = await Promise.race([
      fileWithin(folder, readyFile, async () => JSON.parse(await readFile(readyFile, "utf8"))),
      ended.then(() => { throw new Error(`xtask dev ended before it was ready:\n${said}`); }),
    ]);
    return { ...ready, folder, child, stop, said: () => said };
  } catch (error) {
    await stop();
    throw error;
  }
}

function launch(args) {
  const { XTASK_PROGRAM: xtask } = process.env;
  const [program, first] = xtask ? [xtask, []] : ["cargo", ["xtask"]];
  return spawn(program, [...first, ...args], { stdio: ["ignore", "pipe", "pipe"] });
}

/** What `read` gives, once `file` is in the folder and whole. */
export async function fileWithin(folder, file, read) {
  const limit = AbortSignal.timeout(START_MS);
  const changes = watch(folder, { signal: limit });
  try { return await read(); } catch { /* not there yet */ }
  for await (const _ of changes) {
    try { return await read(); } catch { /* not there yet */ }
  }
  throw new Error(`${file} was never written`);
}
