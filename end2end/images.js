// The README's pictures, of a demonstration: `node images.js` writes them into docs/images, `node images.js deployment` that one alone.

import { execFile } from "node:child_process";
import { mkdir } from "node:fs/promises";
import { request } from "node:http";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";

import { startBerth } from "./harness/berth.js";
import { launchBrowser, newPage, open, THEMES } from "./harness/browser.js";
import { enter } from "./harness/people.js";
import { terminal } from "./harness/terminal.js";

const IMAGES = new URL("../docs/images/", import.meta.url).pathname;
const VIEWPORT = { width: 1280, height: 720 };
const TALL = { width: 1440, height: 900 };
const WORK = "clear; ls -l --color=always /usr; nproc; id\n";
const COUNTER = new URL("../examples/objects/counter", import.meta.url).pathname;
/** So many count at once, for so long at a time: the charts show it. */
const CALLERS = 8;
const CALLS_MS = [25_000, 10_000, 20_000];
const PAUSE_MS = 10_000;

const wanted = process.argv.slice(2);
const isWanted = (name) => wanted.length === 0 || wanted.includes(name);

/** Counts at objects of the deployment `counter`. Not every system's resolver knows NAME.localhost. */
async function count(address, forMs) {
  const { port } = new URL(address);
  const once = (caller) => new Promise((resolve, reject) => {
    const sent = request({ host: "127.0.0.1", port, path: `/visits-${caller}`, method: "POST", headers: { host: `counter.localhost:${port}` } }, (answer) => {
      answer.resume();
      answer.on("end", resolve);
      answer.on("error", reject);
    });
    sent.on("error", reject);
    sent.end();
  });
  const until = Date.now() + forMs;
  await Promise.all(Array.from({ length: CALLERS }, async (_, caller) => { while (Date.now() < until) await once(caller); }));
}

await mkdir(IMAGES, { recursive: true });
const berth = await startBerth({ agents: 2, demo: wanted.some((name) => name !== "deployment") || wanted.length === 0 });
const browser = await launchBrowser();
try {
  const { storageState } = await enter(browser, berth.sign_in);
  const page = await newPage(browser, { storageState, viewport: VIEWPORT });
  const take = async (name) => {
    for (const theme of THEMES) {
      await page.evaluate(async (theme) => {
        document.documentElement.dataset.theme = theme;
        await Promise.allSettled(document.getAnimations().map((one) => one.finished));
      }, theme);
      await page.screenshot({ path: join(IMAGES, `${name}-${theme}.png`) });
    }
  };

  if (isWanted("session")) {
    await open(page, `${berth.address}/machines?labels=place=local`);
    await page.getByRole("button", { name: /^Book / }).first().click();
    await page.getByRole("dialog").and(page.locator(":visible")).getByRole("button").first().click();
    await page.waitForURL(/\/sessions\//);
    const shell = terminal(page, 1);
    await shell.focus();
    await shell.type(WORK);
    await shell.shows(/uid=/);
    await page.evaluate(() => scrollTo(0, 0));
    await take("session");
  }
  if (isWanted("machines")) {
    await open(page, `${berth.address}/machines`);
    await page.locator(".loads").nth(5).waitFor();
    await take("machines");
  }
  if (isWanted("reserve")) {
    await open(page, `${berth.address}/reserve`);
    await take("reserve");
  }
  if (isWanted("hosts")) {
    await open(page, `${berth.address}/hosts`);
    await page.getByRole("img", { name: /^CPU over/ }).nth(5).waitFor();
    await take("hosts");
  }
  if (isWanted("deployment")) {
    const made = await page.request.post(`${berth.address}/api/v1/tokens`, {
      headers: { origin: berth.address }, data: { name: "pictures", scope: "all" },
    });
    const env = { ...process.env, BERTH_SERVER: berth.address, BERTH_TOKEN: (await made.json()).secret, XDG_CONFIG_HOME: berth.folder };
    await promisify(execFile)(join(berth.bin, "berth"), ["objects", "deploy", COUNTER, "--note", "first"], { env });
    for (const forMs of CALLS_MS) {
      await count(berth.address, forMs);
      await delay(PAUSE_MS);
    }
    await page.setViewportSize(TALL);
    await open(page, `${berth.address}/deployments/counter`);
    await page.getByText("version 1, running on 2 hosts").waitFor();
    await take("deployment");
  }
} finally {
  await browser.close();
  await berth.stop();
}
