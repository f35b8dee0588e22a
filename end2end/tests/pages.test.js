// The main job in a browser: choose a password, book now, use, extend, end; hosts and instructions; with JavaScript off.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { startBerth } from "../harness/berth.js";
import { alive, assertGoodPage, assertQuiet, launchBrowser, newPage, open, WIDTHS } from "../harness/browser.js";

const PASSWORD = "three quiet harbours";
const LONG_MS = 60_000;

let berth;
let browser;
let storageState;
let email;

before(async () => {
  berth = await startBerth({ agents: 2 });
  browser = await launchBrowser();
  // The one-time link leads to the choice of a password.
  const page = await newPage(browser);
  await open(page, berth.sign_in);
  await page.getByRole("button", { name: "Continue" }).click();
  await page.waitForURL(/\/account/);
  await alive(page);
  email = (await page.locator("input[name=username]").getAttribute("value")) ?? "";
  await page.getByLabel("New password").fill(PASSWORD);
  await page.getByRole("button", { name: "Save password" }).click();
  await page.getByText("Your password is changed").waitFor();
  storageState = await page.context().storageState();
  assertQuiet(page);
  await page.context().close();
});

after(async () => {
  await browser?.close();
  await berth?.stop();
});

const signedIn = (options = {}) => newPage(browser, { storageState, ...options });

async function end(page) {
  await page.getByRole("button", { name: "End session" }).click();
  await page.getByText("reverting", { exact: true }).or(page.getByText("ended", { exact: true })).first().waitFor({ timeout: LONG_MS });
  await page.getByText("ended", { exact: true }).first().waitFor({ timeout: LONG_MS });
}

test("two clicks book a machine; its steps, terminal, extension and end come without a reload", { timeout: 300_000 }, async () => {
  const page = await signedIn();
  await open(page, `${berth.address}/machines`);
  let documents = 0;
  page.on("request", (request) => { if (request.isNavigationRequest()) documents += 1; });
  const row = page.getByRole("row").filter({ hasText: "free" }).first();
  const name = (await row.getByRole("rowheader").getByRole("link").first().textContent()).trim();
  await row.getByRole("button", { name: /^Book / }).click();
  await page.getByRole("button", { name: "2 hours" }).and(page.locator(":visible")).click();
  await page.waitForURL(/\/sessions\//);
  await page.getByText("active", { exact: true }).first().waitFor({ timeout: LONG_MS });

  const terminal = page.locator(".terminal").first();
  await terminal.locator(".xterm-helper-textarea").waitFor({ state: "attached" });
  await terminal.locator(".xterm-screen").click();
  await page.keyboard.type("echo $((6 * 7))-$(tput cols)\n");
  await page.waitForFunction(() => /42-\d+/.test(document.querySelector(".xterm-rows")?.textContent ?? ""), undefined, { timeout: LONG_MS });
  const columns = async () => Number(/42-(\d+)/.exec(await page.locator(".xterm-rows").first().textContent())[1]);
  const wide = await columns();
  await page.setViewportSize(WIDTHS.narrow);
  await page.keyboard.type("clear; echo $((6 * 7))-$(tput cols)\n");
  await page.waitForFunction((wide) => {
    const found = [...(document.querySelector(".xterm-rows")?.textContent ?? "").matchAll(/42-(\d+)/g)].at(-1);
    return found !== undefined && Number(found[1]) < wide;
  }, wide, { timeout: LONG_MS });
  await page.setViewportSize(WIDTHS.wide);

  const until = page.locator("dt", { hasText: "Until" }).locator("+ dd time").first();
  const before = await until.getAttribute("datetime");
  await page.getByRole("button", { name: "+30 min" }).click();
  await page.waitForFunction((before) => {
    const term = [...document.querySelectorAll("dt")].find((term) => term.textContent === "Until");
    return new Date(term?.nextElementSibling?.querySelector("time")?.dateTime) - new Date(before) === 30 * 60_000;
  }, before);

  await end(page);
  assert.equal(documents, 0, "no document was loaded on the way");
  await open(page, `${berth.address}/machines?q=${encodeURIComponent(name)}`);
  await page.getByRole("row").filter({ hasText: name }).getByText("free", { exact: true }).waitFor({ timeout: LONG_MS });
  assertQuiet(page);
  await page.context().close();
});

test("one signs in without JavaScript", async () => {
  const page = await newPage(browser, { javaScript: false });
  await page.goto(`${berth.address}/sign-in`);
  await page.getByLabel("E-mail").fill(email);
  await page.getByLabel("Password").fill(PASSWORD);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.waitForURL((url) => !url.pathname.startsWith("/sign-in"));
  assertQuiet(page);
  await page.context().close();
});

test("a refused booking says why beside the form", async () => {
  const page = await signedIn({ expected: [/status of 4\d\d/] });
  await open(page, `${berth.address}/reserve`);
  await page.getByLabel("Machine", { exact: false }).first().fill("no-such/machine");
  await page.getByLabel("Until").fill("2031-01-01T10:00");
  await page.getByRole("button", { name: "Reserve", exact: true }).click();
  await page.getByRole("alert").filter({ visible: true }).first().waitFor();
  assertQuiet(page);
  await page.context().close();
});

test("a host goes into maintenance and back, and a zero certificate is made and revoked", async () => {
  const page = await signedIn();
  await open(page, `${berth.address}/hosts`);
  await page.getByRole("rowheader").getByRole("link").first().click();
  await page.getByRole("button", { name: "Put in maintenance" }).click();
  await page.getByText("in maintenance", { exact: true }).first().waitFor();
  await page.getByRole("button", { name: "Put in service" }).click();
  await page.getByText("in service", { exact: true }).first().waitFor();
  await open(page, `${berth.address}/hosts/certificates`);
  await page.getByLabel("What for").fill("rack 7");
  await page.getByRole("button", { name: "Make zero certificate" }).click();
  await page.getByRole("link", { name: /^Download / }).waitFor();
  await page.getByRole("button", { name: "Revoke rack 7" }).click();
  await page.getByText("revoked", { exact: true }).first().waitFor();
  assertQuiet(page);
  await page.context().close();
});

test("an instruction runs on a host and its output is shown", { timeout: 120_000 }, async () => {
  const page = await signedIn();
  await open(page, `${berth.address}/hosts`);
  const host = (await page.getByRole("rowheader").getByRole("link").first().textContent()).trim();
  await open(page, `${berth.address}/instructions?hosts=${encodeURIComponent(host)}`);
  await page.getByRole("textbox", { name: "Command" }).fill("echo it ran here");
  await page.getByRole("button", { name: "Run" }).click();
  await page.waitForURL(/\/instructions\//);
  await page.getByText("done", { exact: true }).first().waitFor({ timeout: LONG_MS });
  await page.locator("pre", { hasText: "it ran here" }).waitFor();
  assertQuiet(page);
  await page.context().close();
});

test("the keyboard alone chooses a stretch of free time", async () => {
  const page = await signedIn();
  await open(page, `${berth.address}/reserve?view=week`);
  const slot = page.locator(".timeline .slot[tabindex='0']");
  await slot.focus();
  await page.keyboard.press("End");
  await page.keyboard.press("ArrowLeft");
  await page.keyboard.press("Enter");
  await page.keyboard.press("ArrowRight");
  await page.keyboard.press("Enter");
  await page.waitForURL(/machine=.*start=.*end=/);
  assert.notEqual(await page.getByLabel("From").inputValue(), "");
  assertQuiet(page);
  await page.context().close();
});

for (const [name, address] of [
  ["home", "/"], ["machines", "/machines"], ["reserve", "/reserve"], ["reserve-week", "/reserve?view=week"],
  ["reserve-list", "/reserve?view=list"], ["sessions", "/sessions"], ["hosts", "/hosts"], ["certificates", "/hosts/certificates"],
  ["instructions", "/instructions"], ["people", "/people"], ["tokens", "/tokens"], ["audit", "/audit"], ["account", "/account"],
]) {
  test(`${name}: accessible in both themes, reflows, console clean`, async () => {
    const page = await signedIn();
    await open(page, berth.address + address);
    await page.getByRole("heading", { level: 1 }).waitFor();
    await assertGoodPage(page, name);
    await page.context().close();
  });
}

test("sign-in: accessible in both themes, and a wrong password says so", async () => {
  const page = await newPage(browser);
  await open(page, `${berth.address}/sign-in`);
  await assertGoodPage(page, "sign-in");
  await page.getByLabel("E-mail").fill("nobody@example.org");
  await page.getByLabel("Password").fill("not the password");
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByText("do not belong together").waitFor();
  await page.context().close();
});
