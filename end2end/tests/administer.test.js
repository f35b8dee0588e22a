// What an admin does: hosts from their zero certificate to their end, instructions, people, tokens, audit.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before, test } from "node:test";

import { startBerth } from "../harness/berth.js";
import { assertGoodPage, assertQuiet, launchBrowser, LONG_MS, newPage, open, TEST_MS } from "../harness/browser.js";
import { enrolHost } from "../harness/host.js";
import { enter, PASSWORD } from "../harness/people.js";

let berth;
let browser;
let admin;
const hosts = [];

before(async () => {
  berth = await startBerth({ agents: 2 });
  browser = await launchBrowser();
  admin = await enter(browser, berth.sign_in);
});

after(async () => {
  await browser?.close();
  for (const host of hosts) await host.stop();
  await berth?.stop();
});

const signedIn = (options = {}) => newPage(browser, { storageState: admin.storageState, ...options });
const word = (page, text) => page.getByText(text, { exact: true }).first();

/** Makes a zero certificate in the page and gives the file's text. */
async function zeroCertificate(page, { name, join, uses = 1 }) {
  await open(page, `${berth.address}/hosts/certificates`);
  await page.getByLabel("What for").fill(name);
  await page.getByLabel("Hosts that may join").fill(String(uses));
  await page.getByLabel("Hosts join").selectOption(join);
  await page.getByRole("button", { name: "Make zero certificate" }).click();
  const [download] = await Promise.all([
    page.waitForEvent("download"),
    page.getByRole("link", { name: /^Download / }).click(),
  ]);
  return readFile(await download.path(), "utf8");
}

test("a host joins with approval, appears by itself, serves, drains, is revoked and deleted", { timeout: TEST_MS }, async () => {
  // The refused word.
  const page = await signedIn({ expected: [/status of 422/] });
  const zero = await zeroCertificate(page, { name: "rack 7", join: "approval" });
  const host = await enrolHost(berth, "rack-7", zero);
  hosts.push(host);
  host.start();
  // The page was not loaded again: the host appears at once.
  const approve = page.getByRole("button", { name: "Approve rack-7" });
  await approve.waitFor({ timeout: LONG_MS });
  await approve.click();
  await approve.waitFor({ state: "detached" });

  await open(page, `${berth.address}/hosts`);
  const row = page.getByRole("row").filter({ hasText: "rack-7" });
  await row.getByText("online", { exact: true }).waitFor({ timeout: LONG_MS }).catch((late) => {
    throw new Error(`rack-7 never linked; its agent says: ${host.said()}`, { cause: late });
  });
  await row.getByRole("img", { name: /^CPU over/ }).waitFor({ timeout: LONG_MS });
  await row.getByRole("rowheader").getByRole("link").first().click();
  await page.getByRole("heading", { level: 1, name: "rack-7" }).waitFor();
  await page.getByRole("link", { name: "rack-7/slot-1" }).waitFor({ timeout: LONG_MS });
  await page.getByRole("img", { name: "Memory over the last ten minutes" }).waitFor({ timeout: LONG_MS });

  await page.getByRole("button", { name: "Put in maintenance" }).click();
  await word(page, "in maintenance").waitFor();
  await page.getByRole("button", { name: "Drain" }).click();
  await word(page, "draining").waitFor();
  await page.getByRole("button", { name: "Put in service" }).click();
  await word(page, "in service").waitFor();
  await assertGoodPage(page, "host");

  // Another word is refused, by the browser and, where that is passed by, by the server.
  await page.getByRole("button", { name: "Revoke", exact: true }).click();
  const dialog = page.getByRole("dialog", { name: "Revoke rack-7?" });
  const confirmed = dialog.getByRole("button", { name: "Revoke" });
  await dialog.getByLabel("Type rack-7 to confirm").fill("rack-8");
  // New readings come meanwhile, and leave what somebody types alone.
  const beat = await page.waitForResponse(/\/fn\/hosts-get/, { timeout: LONG_MS });
  await beat.finished();
  assert.equal(await dialog.getByLabel("Type rack-7 to confirm").inputValue(), "rack-8");
  await confirmed.click();
  assert.equal(await dialog.locator("input[name=confirm]").evaluate((input) => input.validity.patternMismatch), true);
  await dialog.locator("form").evaluate((form) => { form.noValidate = true; });
  await confirmed.click();
  await dialog.getByText("type the host's name, rack-7", { exact: false }).waitFor();
  await dialog.getByLabel("Type rack-7 to confirm").fill("rack-7");
  const asked = Date.now();
  await confirmed.click();
  await word(page, "revoked").waitFor();
  await word(page, "offline").waitFor({ timeout: LONG_MS });
  assert.ok(Date.now() - asked < 5_000, "the link is cut at once");

  // Whoever else looks at it is told that it is gone, and no request fails.
  const viewer = await signedIn();
  await open(viewer, page.url());

  await page.getByRole("button", { name: "Delete", exact: true }).click();
  const last = page.getByRole("dialog", { name: "Delete rack-7?" });
  await last.getByLabel("Type rack-7 to confirm").fill("rack-7");
  await last.getByRole("button", { name: "Delete" }).click();
  await page.waitForURL(/\/hosts$/);
  await page.getByRole("heading", { level: 1, name: "Hosts" }).waitFor();
  await row.waitFor({ state: "detached" });
  await viewer.getByRole("heading", { name: "This is not here" }).waitFor();
  assertQuiet(viewer);
  await viewer.context().close();
  assertQuiet(page);
  await page.context().close();
});

test("a zero certificate is revoked, and a host is let in or refused, without JavaScript as well", { timeout: TEST_MS }, async () => {
  const page = await signedIn();
  const zero = await zeroCertificate(page, { name: "rack 8", join: "approval", uses: 2 });
  hosts.push(await enrolHost(berth, "rack-8", zero));
  await page.getByRole("button", { name: "Approve rack-8" }).waitFor({ timeout: LONG_MS });
  await page.getByRole("button", { name: "Revoke rack 8" }).click();
  await word(page, "revoked").waitFor();
  await assertGoodPage(page, "certificates");
  await page.context().close();

  const plain = await signedIn({ javaScript: false });
  await plain.goto(`${berth.address}/hosts/certificates`);
  await plain.getByRole("button", { name: "Approve rack-8" }).click();
  await plain.goto(`${berth.address}/hosts?q=rack-8`);
  await plain.getByRole("link", { name: "rack-8" }).first().click();
  assert.equal(await plain.getByRole("heading", { level: 1 }).textContent(), "rack-8");
  const remove = async (name) => {
    await plain.getByRole("button", { name: "Delete", exact: true }).first().click();
    const dialog = plain.getByRole("dialog", { name: "Delete rack-8?" });
    await dialog.locator("input[name=confirm]").evaluate((input) => input.removeAttribute("pattern"));
    await dialog.getByLabel("Type rack-8 to confirm").fill(name);
    await dialog.getByRole("button", { name: "Delete" }).click();
  };
  await remove("rack");
  await plain.getByText("type the host's name, rack-8", { exact: false }).first().waitFor();
  await remove("rack-8");
  await plain.waitForURL(/\/hosts$/);
  assert.equal(await plain.getByText("rack-8").count(), 0);
  assertQuiet(plain);
  await plain.context().close();
});

test("an instruction runs on hosts by label, shows each one's states and output, and is cancelled", { timeout: TEST_MS }, async () => {
  const page = await signedIn();
  const run = async (command) => {
    await open(page, `${berth.address}/instructions`);
    await page.getByLabel("or by labels").fill("place=local");
    await page.getByRole("textbox", { name: "Command" }).fill(command);
    await page.getByRole("button", { name: "Run" }).click();
    await page.waitForURL(/\/instructions\/[0-9a-f-]+$/);
  };
  await run("sh -c 'echo it ran on $HOSTNAME; exit 3'");
  await page.locator("article").nth(1).waitFor();
  for (const article of await page.locator("article").all()) {
    await article.getByText("failed", { exact: true }).waitFor({ timeout: LONG_MS });
    await article.getByText("exit code 3").waitFor();
    await article.locator("pre", { hasText: "it ran on" }).waitFor();
    assert.deepEqual(await article.locator("dt").allTextContents(), ["Offered", "Claimed", "Started", "Ended", "Took"]);
  }
  await assertGoodPage(page, "instruction");

  await run("sh -c 'echo waiting; sleep 300'");
  await page.locator("article pre", { hasText: "waiting" }).nth(1).waitFor({ timeout: LONG_MS });
  await page.getByRole("button", { name: "Cancel" }).click();
  for (const article of await page.locator("article").all()) {
    await article.getByText("cancelled", { exact: true }).waitFor({ timeout: LONG_MS });
  }
  await page.getByRole("button", { name: "Cancel" }).waitFor({ state: "detached" });
  await open(page, `${berth.address}/instructions`);
  await page.getByRole("row").filter({ hasText: "sleep 300" }).getByText("cancelled").waitFor();
  assertQuiet(page);
  await page.context().close();
});

test("a person is invited, comes in, gets another role, is locked out and let in again", { timeout: TEST_MS }, async () => {
  const page = await signedIn();
  await open(page, `${berth.address}/people`);
  await page.getByLabel("E-mail").fill("nora.long@example.org");
  await page.getByLabel("Name").fill("Nora Long-Surname of the Northern Harbour Authority");
  await page.getByRole("button", { name: "Invite" }).click();
  const link = await page.locator(".secret code").first().textContent();
  const row = page.getByRole("row").filter({ hasText: "nora.long@example.org" });
  await row.getByText("invited", { exact: true }).waitFor();
  const nora = await enter(browser, link);
  await row.getByText("active", { exact: true }).waitFor();
  await row.getByRole("combobox").selectOption("manager");
  await row.getByRole("button", { name: /^Set the role/ }).click();
  const theirs = await newPage(browser, { storageState: nora.storageState, expected: [/status of 40[13]/, /ERR_/] });
  await open(theirs, `${berth.address}/audit`);
  await theirs.getByRole("heading", { level: 1, name: "Audit" }).waitFor();
  await theirs.getByRole("row").filter({ hasText: "people." }).first().waitFor();

  await row.getByRole("button", { name: /^Lock / }).click();
  await row.getByText("locked", { exact: true }).waitFor();
  await theirs.goto(`${berth.address}/machines`);
  await theirs.waitForURL(/\/sign-in/);
  await row.getByRole("button", { name: /^Unlock / }).click();
  await row.getByText("active", { exact: true }).waitFor();
  await theirs.getByLabel("E-mail").fill(nora.email);
  await theirs.getByLabel("Password").fill(PASSWORD);
  await theirs.getByRole("button", { name: "Sign in" }).click();
  await theirs.waitForURL(/\/machines/);
  await theirs.context().close();
  await assertGoodPage(page, "people");
  await page.context().close();
});

test("a token is made, shown once, used and revoked, and the audit log tells of all of it", async () => {
  const page = await signedIn();
  await open(page, `${berth.address}/tokens`);
  await page.getByLabel("What for").fill("nightly build");
  await page.getByLabel("Scope").selectOption("read");
  await page.getByRole("button", { name: "Make token" }).click();
  const token = await page.locator(".secret code").first().textContent();
  const ask = () => fetch(`${berth.address}/api/v1/machines`, { headers: { authorization: `Bearer ${token}` } });
  assert.equal((await ask()).status, 200);
  await assertGoodPage(page, "tokens");
  await open(page, `${berth.address}/tokens`);
  assert.equal(await page.getByText(token).count(), 0, "shown once");
  await page.getByRole("button", { name: "Revoke nightly build" }).click();
  await page.getByRole("button", { name: "Revoke nightly build" }).waitFor({ state: "detached" });
  assert.equal((await ask()).status, 401);
  await open(page, `${berth.address}/audit`);
  for (const action of ["tokens.create", "tokens.revoke"]) await page.getByText(action, { exact: true }).first().waitFor();
  await assertGoodPage(page, "audit");
  await page.context().close();
});

test("an admin takes a machine out of use, with the reason, and releases it", async () => {
  const page = await signedIn();
  await open(page, `${berth.address}/machines?q=local-1/slot-2`);
  await page.getByRole("link", { name: "local-1/slot-2" }).click();
  await page.getByRole("heading", { level: 1, name: "local-1/slot-2" }).waitFor();
  await page.getByRole("button", { name: "Quarantine" }).first().click();
  const dialog = page.getByRole("dialog", { name: "Quarantine" });
  await dialog.getByLabel("Why").fill("its disk makes noises");
  await dialog.getByRole("button", { name: "Quarantine" }).click();
  await word(page, "quarantined").waitFor();
  await word(page, "its disk makes noises").waitFor();
  await open(page, berth.address);
  await page.getByText(/1 machine is in quarantine/).waitFor();
  await page.getByRole("region", { name: "Needs attention" }).getByText("its disk makes noises").waitFor();
  await assertGoodPage(page, "home-in-trouble");
  await page.getByRole("link", { name: "local-1/slot-2" }).first().click();
  await page.getByRole("button", { name: "Release" }).first().click();
  const release = page.getByRole("dialog", { name: "Release" });
  await release.getByLabel("Why").fill("a new disk");
  await release.getByRole("button", { name: "Release" }).click();
  await word(page, "free").waitFor();
  assertQuiet(page);
  await page.context().close();
});
