// A further host, which somebody enrols with a file from the page.

import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { openSync, readFileSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);

/** Enrols `name` with the zero certificate's text; `start` runs its agent, `stop` ends it. */
export async function enrolHost(berth, name, zero) {
  const folder = join(berth.folder, name);
  await mkdir(folder, { recursive: true });
  const [config, file, agent] = [join(folder, "agent.toml"), join(folder, "zero.toml"), join(berth.bin, "berth-agent")];
  await writeFile(file, zero, { mode: 0o600 });
  await writeFile(config, [
    `state_dir = ${JSON.stringify(join(folder, "state"))}`, 'labels = { place = "rack" }', "[[machines]]", 'name = "slot-1"',
    'kind = "sandbox"', "cpus = 1.0", 'memory = "512MiB"', 'labels = { kind = "sandbox" }', "",
  ].join("\n"));
  await run(agent, ["enroll", file, "--config", config, "--name", name]);
  let child;
  return {
    start() {
      const log = openSync(join(folder, "agent.log"), "a");
      child = spawn(agent, ["run", "--config", config], { stdio: ["ignore", log, log] });
    },
    said: () => readFileSync(join(folder, "agent.log"), "utf8"),
    async stop() {
      if (!child || child.exitCode !== null) return;
      const ended = once(child, "exit");
      child.kill("SIGTERM");
      await ended;
    },
  };
}
