// A real JupyterLab in a real browser: launched from the portal, opened on an origin of its own, used, and given back.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { startBerth } from "../harness/berth.js";
import { assertAccessible, assertQuiet, launchBrowser, LONG_MS, newPage, open } from "../harness/browser.js";
import { jupyter, watch } from "../harness/jupyter.js";
import { enter, member } from "../harness/people.js";

/** A first environment is built from the package registry. */
const BUILD_MS = 8 * 60_000;

/** What the browser itself says of a form that is refused. */
const REFUSED = [/status of 422/];

let berth;
let browser;
let admin;

before(async () => {
  berth = await startBerth({ agents: 1 });
  browser = await launchBrowser();
  admin = await enter(browser, berth.sign_in);
});

after(async () => {
  await browser?.close();
  await berth?.stop();
});

test("a notebook is launched, used on its own origin, and keeps its files", { timeout: BUILD_MS + 6 * LONG_MS }, async () => {
  const { port } = new URL(berth.address);
  const origin = `http://first.localhost:${port}`;
  const launching = await newPage(browser, { storageState: admin.storageState });
  await open(launching, `${berth.address}/notebooks`);
  await assertAccessible(launching);
  await launching.getByLabel("Name", { exact: false }).first().fill("first");
  await launching.getByRole("button", { name: "Launch" }).click();
  await launching.waitForURL(/\/notebooks\/first\?open$/);
  assertQuiet(launching);
  const page = await newPage(browser, { storageState: admin.storageState });
  await open(page, `${berth.address}/notebooks/first`);
  // Whoever launched it is led into it.
  const [lab, trouble] = [launching, []];
  watch(lab, trouble);
  await lab.waitForURL((url) => url.origin === origin && url.pathname === "/lab", { timeout: BUILD_MS });
  await page.getByText("running", { exact: true }).first().waitFor({ timeout: LONG_MS });
  await assertAccessible(page);
  await lab.getByText("Python 3 (ipykernel)").first().waitFor({ timeout: LONG_MS });
  assert.deepEqual(trouble, []);
  assert.equal(new URL(lab.url()).origin, origin);
  assert.ok(!lab.url().includes("ticket"), "no secret in the address");
  // The kernel itself, through the proxy, as JupyterLab's own pages reach it.
  const computed = await lab.evaluate(async () => {
    const xsrf = document.cookie.match(/_xsrf=([^;]+)/)?.[1] ?? "";
    const headers = { "X-XSRFToken": xsrf, "Content-Type": "application/json" };
    const started = await fetch("/api/kernels", { method: "POST", headers, body: JSON.stringify({ name: "python3" }) });
    if (!started.ok) return `kernel: ${started.status} ${await started.text()}`;
    const { id } = await started.json();
    const socket = new WebSocket(`ws://${location.host}/api/kernels/${id}/channels?session_id=test`);
    await new Promise((resolve, reject) => { socket.onopen = resolve; socket.onerror = () => reject(new Error("no socket")); });
    const code = "import numpy, pandas, pyarrow; open('kept.txt', 'w').write('kept'); print(int(numpy.arange(7).sum()))";
    const message = {
      channel: "shell", content: { code, silent: false, store_history: false, user_expressions: {}, allow_stdin: false },
      header: { msg_id: "1", session: "test", username: "", date: new Date().toISOString(), msg_type: "execute_request", version: "5.3" },
      parent_header: {}, metadata: {}, buffers: [],
    };
    const output = new Promise((resolve) => {
      let text = "";
      socket.onmessage = ({ data }) => {
        const said = JSON.parse(data);
        if (said.msg_type === "stream") text += said.content.text;
        if (said.msg_type === "error") resolve(said.content.evalue);
        if (said.msg_type === "execute_reply" && said.parent_header.msg_id === "1") setTimeout(() => resolve(text), 300);
      };
    });
    socket.send(JSON.stringify(message));
    return output;
  });
  assert.equal(computed.trim(), "21");
  // The portal's cookie does not come to the notebook's origin, nor its own answers to that origin's pages.
  const seen = await lab.evaluate(async (portal) => {
    try {
      const answer = await fetch(`${portal}/api/v1/me`, { credentials: "include" });
      return `${answer.status}`;
    } catch {
      return "refused";
    }
  }, berth.address);
  assert.equal(seen, "refused");
  const cookies = await lab.context().cookies(origin);
  assert.ok(cookies.every(({ name }) => name === "berth-notebook" || name === "_xsrf"), JSON.stringify(cookies));
  assert.ok(cookies.find(({ name }) => name === "berth-notebook").httpOnly);

  // Nobody else comes in: without a cookie, with a forged one, and another person by way of the portal.
  const bare = await fetch(`http://localhost:${port}/api/status`, { headers: { host: `first.localhost:${port}` } }).catch(() => null);
  assert.ok(!bare?.ok);
  const bob = await member(browser, berth, admin, { name: "Bob", role: "engineer" });
  const others = await newPage(browser, { storageState: bob.storageState, expected: [/404/] });
  const refused = await others.goto(`${origin}/lab`);
  assert.equal(refused.status(), 404);
  await others.context().close();

  await page.bringToFront();
  await page.getByRole("button", { name: "Stop" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Stop" }).click();
  await page.getByText("stopped", { exact: true }).first().waitFor({ timeout: LONG_MS });
  await lab.context().close();
  await page.getByRole("button", { name: "Start" }).click();
  await page.getByText("running", { exact: true }).first().waitFor({ timeout: LONG_MS });
  const again = await jupyter(page, trouble);
  const kept = await again.evaluate(async () => (await fetch("/api/contents/kept.txt")).json());
  assert.equal(kept.content, "kept");
  await again.close();
  await page.getByRole("button", { name: "Stop" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Stop" }).click();
  await page.getByText("stopped", { exact: true }).first().waitFor({ timeout: LONG_MS });
  await page.getByRole("button", { name: "Delete" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Delete" }).click();
  await page.waitForURL(/\/notebooks$/);
  await page.getByText("No notebooks yet").waitFor();
  assertQuiet(page);
  await page.context().close();
});

test("an admin sets sizes and what waits warm, and a person's files are deleted by name", { timeout: BUILD_MS + 6 * LONG_MS }, async () => {
  const page = await newPage(browser, { storageState: admin.storageState, expected: REFUSED });
  await open(page, `${berth.address}/notebooks/settings`);
  await assertAccessible(page);
  await page.getByLabel("Name of size 4").fill("tiny");
  await page.getByLabel("CPUs of size 4").fill("0.5");
  await page.getByLabel("Memory, GiB of size 4").fill("0");
  await page.getByLabel("Disk, GiB of size 4").fill("1");
  await page.getByRole("button", { name: "Save" }).click();
  await page.getByText("the size 'tiny' needs 256 MiB to 64 TiB of memory").waitFor();
  assert.equal(await page.getByLabel("CPUs of size 4").inputValue(), "0.5", "what was typed is kept");
  await page.getByLabel("Memory, GiB of size 4").fill("1");
  await page.getByRole("button", { name: "Save" }).click();
  await page.getByText("Saved.").waitFor();
  await page.getByLabel("How many wait").fill("1");
  await page.locator("form select[name=size]").selectOption("tiny");
  await page.getByRole("button", { name: "Set", exact: true }).click();
  const waiting = page.getByRole("row", { name: /base tiny 1 1 0/ });
  await waiting.waitFor({ timeout: BUILD_MS });

  // It is given to the first who asks for that size, without a start; then the next one is made ready.
  await open(page, `${berth.address}/notebooks`);
  await page.getByLabel("Name", { exact: false }).first().fill("warm");
  await page.getByLabel("Size").selectOption("tiny");
  const lab = page;
  await page.getByRole("button", { name: "Launch" }).click();
  await lab.waitForURL(/warm\.localhost.*\/lab/, { timeout: LONG_MS });
  const kept = await lab.evaluate(async () => (await fetch("/api/contents/kept.txt")).json());
  assert.equal(kept.content, "kept", "the files are those of the person");
  await lab.context().close();

  const again = await newPage(browser, { storageState: admin.storageState, expected: REFUSED });
  await open(again, `${berth.address}/notebooks/settings`);
  await again.getByLabel("How many wait").fill("0");
  await again.getByRole("button", { name: "Set", exact: true }).click();
  await again.getByRole("row", { name: /base tiny/ }).waitFor({ state: "detached", timeout: LONG_MS });
  await open(again, `${berth.address}/notebooks/warm`);
  await again.getByRole("button", { name: "Stop" }).click();
  await again.getByRole("dialog").getByRole("button", { name: "Stop" }).click();
  await again.getByText("stopped", { exact: true }).first().waitFor({ timeout: LONG_MS });
  await open(again, `${berth.address}/notebooks`);
  const files = again.getByRole("table", { name: "Home directories" });
  const host = (await files.getByRole("rowheader").first().innerText()).trim();
  await files.locator("summary").click();
  await files.getByLabel(`Type ${host} to confirm`).fill("nonsense");
  await files.getByRole("button", { name: "Delete the files" }).click();
  await again.getByText(`type the host's name, ${host}`).waitFor();
  await files.getByLabel(`Type ${host} to confirm`).fill(host);
  await files.getByRole("button", { name: "Delete the files" }).click();
  await files.waitFor({ state: "detached", timeout: LONG_MS });
  assertQuiet(again);
  await again.context().close();
});
