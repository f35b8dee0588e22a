// The frame around every page, for somebody who is not signed in.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { startBerth } from "../harness/berth.js";
import { alive, assertGoodPage, assertQuiet, launchBrowser, newPage, open } from "../harness/browser.js";

let berth;
let browser;

before(async () => {
  berth = await startBerth({ agents: 0 });
  browser = await launchBrowser();
});

after(async () => {
  await browser?.close();
  await berth?.stop();
});

// The address has no page, and Chromium says so itself.
const MISSING = [/status of 404/];

test("an address without a page says so, and the page is alive", async () => {
  const page = await newPage(browser, { expected: MISSING });
  const response = await page.goto(`${berth.address}/no/such/page`);
  assert.equal(response.status(), 404);
  await alive(page);
  await page.getByRole("heading", { level: 1, name: "Page not found" }).waitFor();
  await assertGoodPage(page, "not-found");
  await page.context().close();
});

test("without JavaScript the page is readable", async () => {
  const page = await newPage(browser, { javaScript: false, expected: MISSING });
  await page.goto(`${berth.address}/no/such/page`);
  await page.getByRole("heading", { level: 1, name: "Page not found" }).waitFor();
  assertQuiet(page);
  await page.context().close();
});

test("the policy of the page allows no foreign script and no inline one", async () => {
  const page = await newPage(browser, { expected: [...MISSING, /Content Security Policy/] });
  await open(page, `${berth.address}/no/such/page`);
  const ran = await page.evaluate(() => {
    const script = document.createElement("script");
    script.textContent = "window.ran = true";
    document.head.append(script);
    return window.ran === true;
  });
  assert.equal(ran, false);
  await page.context().close();
});

test("the browser's zone and the chosen theme are in the next document from the start", async () => {
  const page = await newPage(browser, { expected: MISSING });
  await open(page, `${berth.address}/no/such/page`);
  await page.context().addCookies([{ name: "berth-theme", value: "dark", url: berth.address }]);
  const html = await (await page.goto(`${berth.address}/no/such/page`)).text();
  assert.match(html, /<html lang="en" data-theme="dark" data-zone="[^"]*Europe\/Berlin/);
  await page.context().close();
});
