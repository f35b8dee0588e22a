// A further host, which somebody enrols with a file from the page.

import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { openSync, readFileSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);
const ENROLL_MS = 30_000;

/** Enrols `name` with the zero certificate's text; `start` runs its agent, `stop` ends it. With `notebooks` it takes some. */
export async function enrolHost(berth, name, zero, { notebooks = false } = {}) {
  const folder = join(berth.folder, name);
  await mkdir(folder, { recursive: true });
  const [config, file, agent] = [join(folder, "agent.toml"), join(folder, "zero.toml"), join(berth.bin, "berth-agent")];
  await writeFile(file, zero, { mode: 0o600 });
  await writeFile(config, [
    `state_dir = ${JSON.stringify(join(folder, "state"))}`, 'labels = { place = "rack" }',
    ...(notebooks ? ["[notebooks]", "cpus = 4.0", 'memory = "8GiB"'] : []), "[[machines]]", 'name = "slot-1"',
    'kind = "sandbox"', "cpus = 1.0", 'memory = "512MiB"', 'labels = { kind = "sandbox" }', "",
  ].join("\n"));
  // A new tenant's authority reaches the agents' port within seconds; asking again costs no second use.
  const enroll = () => run(agent, ["enroll", file, "--config", config, "--name", name]);
  for (const limit = Date.now() + ENROLL_MS; ;) {
    try {
      await enroll();
      break;
    } catch (error) {
      if (Date.now() > limit) throw error;
    }
  }
  let child;
  return {
    start() {
      const log = openSync(join(folder, "agent.log"), "a");
      child = spawn(agent, ["run", "--config", config], { stdio: ["ignore", log, log] });
    },
    /** Ends what an agent that is stopped left running. */
    clear: () => run(agent, ["clear", "--config", config]),
    said: () => readFileSync(join(folder, "agent.log"), "utf8"),
    async stop() {
      if (!child || child.exitCode !== null) return;
      const ended = once(child, "exit");
      child.kill("SIGTERM");
      await ended;
    },
  };
}
