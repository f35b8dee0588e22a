// The README's pictures, of a demonstration: `node images.js` writes them into docs/images.

import { mkdir } from "node:fs/promises";
import { join } from "node:path";

import { startBerth } from "./harness/berth.js";
import { launchBrowser, newPage, open, THEMES } from "./harness/browser.js";
import { enter } from "./harness/people.js";
import { terminal } from "./harness/terminal.js";

const IMAGES = new URL("../docs/images/", import.meta.url).pathname;
const VIEWPORT = { width: 1280, height: 720 };
const WORK = "clear; ls -l --color=always /usr; nproc; id\n";

await mkdir(IMAGES, { recursive: true });
const berth = await startBerth({ agents: 2, demo: true });
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
  await open(page, `${berth.address}/machines`);
  await page.locator(".loads").nth(5).waitFor();
  await take("machines");
  await open(page, `${berth.address}/reserve`);
  await take("reserve");
  await open(page, `${berth.address}/hosts`);
  await page.getByRole("img", { name: /^CPU over/ }).nth(5).waitFor();
  await take("hosts");
} finally {
  await browser.close();
  await berth.stop();
}
