// What happens in a notebook while somebody has it open, or has left it: it is idle and stops, it is shared and taken back. With a
// real JupyterLab.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { startBerth } from "../harness/berth.js";
import { assertAccessible, assertQuiet, launchBrowser, LONG_MS, newPage, open } from "../harness/browser.js";
import { jupyter, openKernel, rest, run, startKernel, until } from "../harness/jupyter.js";
import { enter, member } from "../harness/people.js";

/** A first environment is built from the package registry. */
const BUILD_MS = 8 * 60_000;
/** The shortest that an admin can set: a minute of nothing, then a minute's warning. */
const IDLE_MIN = 2;
const WARN_MIN = 1;
/** A cell that runs longer than it takes until an idle notebook's person is warned. */
const CELL_S = 80;
const CUT_MS = 1_000;

let berth;
let browser;
let admin;

before(async () => {
  berth = await startBerth({ agents: 1 });
  browser = await launchBrowser();
  admin = await enter(browser, berth.sign_in);
  const page = await newPage(browser, { storageState: admin.storageState });
  await rest(berth, page)("POST", "/notebook-environments", { name: "plain", requirements: "ipykernel" });
  await page.context().close();
});

after(async () => {
  await browser?.close();
  await berth?.stop();
});

async function launched(page, name) {
  const api = rest(berth, page);
  await api("POST", "/notebooks", { name, environment: "plain" });
  await until(BUILD_MS, `${name} runs`, async () => (await api("GET", `/notebooks/${name}`)).state === "running");
  await open(page, `${berth.address}/notebooks/${name}`);
  return api;
}

test("a notebook that nobody uses warns, is kept, stops, and has its files when it starts again", { timeout: BUILD_MS + 15 * LONG_MS }, async () => {
  const page = await newPage(browser, { storageState: admin.storageState });
  const api = await launched(page, "idle");
  const policy = await api("GET", "/notebook-policy");
  await api("PUT", "/notebook-policy", { ...policy, generation: null, idle_after_min: IDLE_MIN, warn_before_min: WARN_MIN });
  const stopsAt = async () => (await api("GET", "/notebooks/idle")).stops_at;
  const trouble = [];
  const lab = await jupyter(page, trouble);
  await lab.getByText("Python 3 (ipykernel)").first().waitFor({ timeout: LONG_MS });
  assert.equal(await lab.evaluate(() => JSON.parse(document.getElementById("jupyter-config-data").textContent).token), "");
  await openKernel(lab, await startKernel(lab));
  await run(lab, "open('kept.txt', 'w').write('kept')");

  // A cell that runs is use, though nothing passes and no tab shows it.
  await lab.evaluate((seconds) => {
    const header = { msg_id: "long", session: "test", username: "", date: new Date().toISOString(), msg_type: "execute_request", version: "5.3" };
    const content = { code: `import time; time.sleep(${seconds}); open('done.txt', 'w').write('done')`, silent: false };
    window.kernel.send(JSON.stringify({ channel: "shell", header, parent_header: {}, metadata: {}, content, buffers: [] }));
    window.kernel.close();
  }, CELL_S);
  await until((CELL_S + 30) * 1000, "the cell is done", async () => {
    assert.ok(!(await stopsAt()), "not while a cell runs");
    return lab.evaluate(async () => (await (await fetch("/api/contents")).json()).content.some(({ name }) => name === "done.txt"));
  });

  // Then nothing happens, with JupyterLab open: its page says so, and the portal's, wherever one is.
  const warning = lab.getByRole("alert").getByText(/This notebook stops at .* as nothing has run in it since/);
  await warning.waitFor({ timeout: 3 * LONG_MS });
  await open(page, `${berth.address}/machines`);
  await page.getByRole("status").getByText(/idle stops at/).waitFor({ timeout: LONG_MS });
  await assertAccessible(page);
  await lab.screenshot({ path: new URL("../results/notebook-idle.png", import.meta.url).pathname });
  await lab.getByRole("button", { name: "Keep running" }).focus();
  await lab.keyboard.press("Enter");
  await warning.waitFor({ state: "detached", timeout: LONG_MS });
  assert.ok(!(await stopsAt()));
  await page.getByText(/idle stops at/).waitFor({ state: "detached", timeout: LONG_MS });

  // And again, without anybody's word.
  await until(3 * LONG_MS, "a second warning", stopsAt);
  await until(3 * LONG_MS, "it is stopped", async () => (await api("GET", "/notebooks/idle")).state === "stopped");
  assert.match((await api("GET", "/notebooks/idle")).cause, /^idle since /);
  await lab.getByRole("alert").getByText(/This notebook is stopped \(idle since/).waitFor({ timeout: LONG_MS });
  await lab.getByRole("link", { name: "Start it again in the portal" }).waitFor();
  await page.getByRole("status").getByText(/idle was stopped: idle since/).waitFor({ timeout: LONG_MS });
  // Until it stopped the console was clean; then JupyterLab itself says that its server is gone.
  assert.deepEqual(trouble.filter((text) => !/50[23]|WebSocket|Connection|fetch/i.test(text)), []);
  await lab.close();

  await open(page, `${berth.address}/notebooks/idle`);
  await page.getByRole("button", { name: "Start" }).click();
  await page.getByText("running", { exact: true }).first().waitFor({ timeout: LONG_MS });
  const again = await jupyter(page, []);
  assert.equal(await again.evaluate(async () => (await (await fetch("/api/contents/kept.txt")).json()).content), "kept");
  await again.close();
  await api("PUT", "/notebook-policy", { ...policy, generation: null });
  await api("POST", "/notebooks/idle/stop");
  assertQuiet(page);
  await page.context().close();
});

test("a shared notebook is read, then used, then taken back within a second", { timeout: BUILD_MS + 6 * LONG_MS }, async () => {
  const [bob, eve] = [
    await member(browser, berth, admin, { name: "Bob", role: "engineer" }), await member(browser, berth, admin, { name: "Eve", role: "engineer" }),
  ];
  const page = await newPage(browser, { storageState: admin.storageState });
  const api = await launched(page, "shared");
  const own = await jupyter(page, []);
  await own.getByText("Python 3 (ipykernel)").first().waitFor({ timeout: LONG_MS });
  const kernel = await startKernel(own);
  await openKernel(own, kernel);
  await run(own, "secret = 6 * 7; open('seen.txt', 'w').write('seen')");

  await page.bringToFront();
  await page.getByLabel("Colleague").fill(bob.email);
  await page.getByRole("button", { name: "Share" }).click();
  await page.getByRole("cell", { name: bob.email }).waitFor();
  await assertAccessible(page);

  const theirs = await newPage(browser, { storageState: bob.storageState });
  await open(theirs, `${berth.address}/notebooks`);
  await theirs.getByRole("heading", { name: "Shared with you" }).waitFor();
  await assertAccessible(theirs);
  await theirs.getByRole("link", { name: "shared", exact: true }).click();
  await theirs.getByText(/You can look at its documents/).waitFor();
  await assertAccessible(theirs);
  const trouble = [];
  const lab = await jupyter(theirs, trouble);
  await lab.getByText(/'s notebook, read-only/).waitFor({ timeout: LONG_MS });
  await lab.getByText("seen.txt").first().waitFor({ timeout: LONG_MS });
  assert.deepEqual(trouble, [], "JupyterLab opens for a reader without complaint");
  await lab.screenshot({ path: new URL("../results/notebook-read-only.png", import.meta.url).pathname });
  const put = () => lab.evaluate(async () => {
    const headers = { "X-XSRFToken": document.cookie.match(/_xsrf=([^;]+)/)?.[1] ?? "", "Content-Type": "application/json" };
    const body = JSON.stringify({ type: "file", format: "text", content: "theirs" });
    return (await fetch("/api/contents/theirs.txt", { method: "PUT", headers, body })).status;
  });
  const seen = await lab.evaluate(async () => (await fetch("/api/contents/seen.txt")).json());
  assert.deepEqual([seen.content, seen.writable], ["seen", false]);
  assert.equal(await put(), 403);
  await openKernel(lab, kernel);
  assert.equal(await run(lab, "secret = 0"), "ReadOnly");
  assert.equal(await run(own, "print(secret)"), "42\n");

  await api("PUT", `/notebooks/shared/shares/${bob.email}`, { access: "full" });
  await lab.waitForFunction(() => window.kernel.closed, undefined, { timeout: LONG_MS });
  assert.equal(await put(), 201);
  await openKernel(lab, kernel);
  assert.equal(await run(lab, "print(secret)"), "42\n");

  const before = Date.now();
  await api("DELETE", `/notebooks/shared/shares/${bob.email}`);
  const closed = await lab.waitForFunction(() => window.kernel.closed, undefined, { timeout: LONG_MS, polling: 20 });
  const tookMs = (await closed.jsonValue()) - before;
  assert.ok(tookMs < CUT_MS, `cut after ${tookMs} ms`);
  console.log(`a share that is taken back cuts an open socket after ${tookMs} ms`);
  assert.equal(await put(), 403);
  await lab.getByRole("alert").getByText(/not open to you any more/).waitFor({ timeout: LONG_MS });
  assert.equal((await theirs.request.get(`${berth.address}/api/v1/notebooks/shared`)).status(), 404);

  const others = await newPage(browser, { storageState: eve.storageState });
  assert.equal((await others.request.get(`${berth.address}/api/v1/notebooks/shared`)).status(), 404);
  assert.equal((await others.request.get(`${berth.address}/notebooks/shared/open`)).status(), 404);
  await api("POST", "/notebooks/shared/stop");
  for (const one of [page, theirs, others]) await one.context().close();
});
