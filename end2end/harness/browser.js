// Chromium, pages whose console must stay clean, accessibility in both themes, screenshots.

import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";

import { AxeBuilder } from "@axe-core/playwright";
import { chromium } from "playwright-core";

const RESULTS = new URL("../results/", import.meta.url).pathname;
const EXECUTABLE = process.env.CHROMIUM ?? "/usr/bin/chromium";
const ARGUMENTS = [
  "--no-sandbox", "--disable-quic", "--disable-background-networking", "--disable-component-update", "--disable-sync",
];
/** For whatever a page is to do or to show: much more than it takes, as the machine may be at other work. Playwright's own is half of it. */
export const LONG_MS = 60_000;
/** Of a whole test, whose steps have limits of their own. */
export const TEST_MS = 5 * LONG_MS;
const SETTLE_MS = 15_000;
export const THEMES = ["light", "dark"];
export const WIDTHS = { wide: { width: 1440, height: 900 }, narrow: { width: 390, height: 844 } };
const RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];

export function launchBrowser() {
  return chromium.launch({ executablePath: EXECUTABLE, args: ARGUMENTS });
}

/**
 * A page in a context of its own. What its console says and what it fails to load is kept in `page.trouble`; call
 * `assertQuiet(page)` at the end. `expected` are patterns of trouble that the test causes on purpose.
 */
export async function newPage(browser, { javaScript = true, expected = [], viewport = WIDTHS.wide, storageState } = {}) {
  const context = await browser.newContext({
    javaScriptEnabled: javaScript, viewport, storageState, reducedMotion: "reduce", timezoneId: "Europe/Berlin", locale: "en-GB",
  });
  context.setDefaultTimeout(LONG_MS);
  const page = await context.newPage();
  page.trouble = [];
  const note = (text) => {
    if (!expected.some((pattern) => pattern.test(text))) page.trouble.push(text);
  };
  page.on("console", (message) => note(`console ${message.type()}: ${message.text()}`));
  page.on("pageerror", (error) => note(`error: ${error.message}`));
  page.on("requestfailed", (request) => {
    // A page that is left ends its own requests.
    const failure = request.failure()?.errorText ?? "";
    // Where scripts are off, Chromium reports each that it does not load.
    const off = !javaScript && failure === "csp";
    if (failure !== "net::ERR_ABORTED" && !off) note(`request failed: ${request.method()} ${request.url()} ${failure}`);
  });
  return page;
}

/** Nothing may have been said on the console. */
export function assertQuiet(page) {
  assert.deepEqual(page.trouble, [], `trouble on ${page.url()}`);
}

/** Opens an address and waits until the page is alive. */
export async function open(page, address) {
  await page.goto(address);
  await alive(page);
}

/** Waits until the page is alive. */
export async function alive(page) {
  await page.locator("html[data-hydrated]").waitFor({ state: "attached" });
}

async function withTheme(page, theme, work) {
  const before = await page.evaluate(() => document.documentElement.dataset.theme);
  // Colours that change over a moment have arrived before anybody measures them.
  const set = (value) => page.evaluate(async (value) => {
    document.documentElement.dataset.theme = value;
    await new Promise((next) => requestAnimationFrame(() => requestAnimationFrame(next)));
    const ending = document.getAnimations().filter((one) => one.effect?.getComputedTiming().endTime !== Infinity);
    await Promise.allSettled(ending.map((one) => one.finished));
  }, value);
  await set(theme);
  try { return await work(); } finally { await set(before); }
}

/** No finding of axe in either theme. */
export async function assertAccessible(page) {
  for (const theme of THEMES) {
    await withTheme(page, theme, async () => {
      const { violations } = await new AxeBuilder({ page }).withTags(RULES).analyze();
      const found = violations.flatMap(({ id, help, nodes }) => nodes.map((node) => `${id}: ${help}: ${node.target} ${node.failureSummary}`));
      assert.deepEqual(found, [], `axe on ${page.url()} in ${theme}`);
    });
  }
}

/** The page never scrolls sideways, down to 320 px. */
export async function assertReflows(page) {
  const before = page.viewportSize();
  await page.setViewportSize({ width: 320, height: 640 });
  // Terminals and charts fit themselves a moment later.
  const fits = () => document.documentElement.scrollWidth <= innerWidth;
  const fitted = await page.waitForFunction(fits, undefined, { timeout: SETTLE_MS }).then(() => true, () => false);
  const content = await page.evaluate(() => document.documentElement.scrollWidth);
  await page.setViewportSize(before);
  assert.ok(fitted, `${page.url()} is ${content} px wide in a window of 320 px`);
}

/** Screenshots in both themes and widths, in end2end/results. */
export async function screenshots(page, name) {
  await mkdir(RESULTS, { recursive: true });
  const before = page.viewportSize();
  for (const [width, size] of Object.entries(WIDTHS)) {
    await page.setViewportSize(size);
    for (const theme of THEMES) {
      await withTheme(page, theme, () => page.screenshot({ path: join(RESULTS, `${name}-${theme}-${width}.png`) }));
    }
  }
  await page.setViewportSize(before);
}

/** Everything that each page must pass, and its screenshots. */
export async function assertGoodPage(page, name) {
  await assertAccessible(page);
  await assertReflows(page);
  await screenshots(page, name);
  assertQuiet(page);
}
