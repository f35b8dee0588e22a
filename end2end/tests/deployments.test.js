// Workers and objects, deployed from the page and from the command line, used at the addresses that they get, and looked into.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, mkdir, rm, truncate, writeFile } from "node:fs/promises";
import { request as ask } from "node:http";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";

import { startBerth } from "../harness/berth.js";
import { AxeBuilder } from "@axe-core/playwright";

import { LONG_MS, THEMES, assertGoodPage, assertQuiet, launchBrowser, newPage, open } from "../harness/browser.js";
import { enter, member } from "../harness/people.js";

const EXAMPLES = new URL("../../examples/objects/", import.meta.url).pathname;
/** Between two looks at what comes by itself. */
const LOOK_MS = 200;
/** What the browser itself says of a form that is refused. */
const REFUSED = [/status of 422/];

const run = promisify(execFile);

let berth;
let browser;
let admin;
let token;

before(async () => {
  berth = await startBerth({ agents: 2 });
  browser = await launchBrowser();
  admin = await enter(browser, berth.sign_in);
  const page = await newPage(browser, { storageState: admin.storageState });
  const made = await page.request.post(`${berth.address}/api/v1/tokens`, {
    headers: { origin: berth.address }, data: { name: "test", scope: "all" },
  });
  assert.equal(made.status(), 201, await made.text());
  token = (await made.json()).secret;
  await page.context().close();
});

after(async () => {
  await browser?.close();
  await berth?.stop();
});

const as = (person, options = {}) => newPage(browser, { storageState: person.storageState, ...options });

/** The command line, signed in: what it prints. */
async function cli(...args) {
  const env = { ...process.env, BERTH_SERVER: berth.address, BERTH_TOKEN: token, XDG_CONFIG_HOME: join(berth.folder, "config") };
  const { stdout } = await run(join(berth.bin, "berth"), ["objects", ...args], { env });
  return stdout;
}

/** A request to a deployment, by its address: not every system's resolver knows NAME.localhost. */
function call(name, path, { method = "GET", body, headers = {} } = {}) {
  const { port } = new URL(berth.address);
  return new Promise((resolve, reject) => {
    const sent = ask({ host: "127.0.0.1", port, path, method, headers: { ...headers, host: `${name}.localhost:${port}` } }, (answer) => {
      let text = "";
      answer.setEncoding("utf8");
      answer.on("data", (piece) => { text += piece; });
      answer.on("end", () => resolve({ status: answer.statusCode, text }));
      answer.on("error", reject);
    });
    sent.on("error", reject);
    sent.end(body);
  });
}

/** What `look` gives once it gives something. */
async function until(what, look) {
  const limit = Date.now() + LONG_MS;
  for (;;) {
    const found = await look();
    if (found) return found;
    assert.ok(Date.now() < limit, `waited in vain: ${what}`);
    await new Promise((next) => { setTimeout(next, LOOK_MS); });
  }
}

/** Waits until this is the whole of an answer. */
const answers = (name, path, wanted) => until(`${name}${path} says ${wanted}`, async () => {
  const { status, text } = await call(name, path);
  return status === 200 && text === wanted;
});

test("nothing is deployed: the page teaches, to whoever sees it", async () => {
  const page = await as(admin);
  await open(page, `${berth.address}/deployments`);
  await page.getByRole("heading", { name: "Nothing is deployed yet" }).waitFor();
  await assertGoodPage(page, "deployments-none");
  await page.getByRole("link", { name: "Deploy a folder" }).click();
  await page.getByRole("heading", { level: 1, name: "Deploy" }).waitFor();
  await assertGoodPage(page, "deploy");
  await page.context().close();
});

test("a folder is chosen in the page, deployed, and is a chat in a browser", async () => {
  const page = await as(admin);
  await open(page, `${berth.address}/deploy`);
  await page.getByLabel("A folder").setInputFiles(join(EXAMPLES, "chat"));
  await page.getByText(/^3 files, /).waitFor();
  await page.getByLabel("Note").fill("the first");
  await page.getByRole("button", { name: "Deploy" }).click();
  await page.getByText("Version 1 of chat is deployed.").waitFor();
  await page.getByText("Running on 2 hosts", { exact: true }).waitFor({ timeout: LONG_MS });
  assert.equal(await page.getByRole("list", { name: "Hosts" }).getByText("version 1", { exact: true }).count(), 2);
  const address = await page.getByRole("link", { name: /^Open chat\.localhost:/ }).getAttribute("href");
  assert.equal(address, `http://chat.localhost:${new URL(berth.address).port}`);
  await assertGoodPage(page, "deploy-done");
  await page.getByRole("link", { name: "Show it" }).click();
  await page.getByRole("heading", { level: 1, name: "chat" }).waitFor();
  await page.getByText("runs", { exact: true }).first().waitFor({ timeout: LONG_MS });
  await answers("chat", "/lobby/history", "[]");

  const { port } = new URL(berth.address);
  const tab = await (await browser.newContext()).newPage();
  await tab.goto(`http://chat.localhost:${port}/lobby/history`);
  const heard = await tab.evaluate(() => new Promise((resolve, reject) => {
    const [ann, bob] = ["ann", "bob"].map((name) => new WebSocket(`ws://${location.host}/lobby/socket?name=${name}`));
    const said = [];
    bob.onmessage = ({ data }) => {
      const { from, text } = JSON.parse(data);
      said.push(`${from}: ${text}`);
      if (text === "hello") resolve(said);
    };
    for (const socket of [ann, bob]) socket.onerror = () => reject(new Error("no socket"));
    const both = () => ann.readyState === WebSocket.OPEN && bob.readyState === WebSocket.OPEN && ann.send("hello");
    ann.onopen = both;
    bob.onopen = both;
  }));
  assert.ok(heard.includes("ann: hello"), JSON.stringify(heard));
  await until("the room remembers it", async () => {
    const { status, text } = await call("chat", "/lobby/history");
    return status === 200 && JSON.parse(text).some(({ from, text }) => from === "ann" && text === "hello");
  });
  await tab.context().close();
  await assertGoodPage(page, "deployment");
  await page.context().close();
});

/** Drags what is at these paths from outside over the page, and gives what lets go of it. */
async function drag(page, ...files) {
  const browser = await page.context().newCDPSession(page);
  const data = { items: [], files, dragOperationsMask: 1 };
  const send = (type, [x, y] = [400, 400]) => browser.send("Input.dispatchDragEvent", { type, x, y, data });
  await send("dragEnter");
  await send("dragOver");
  return { drop: () => send("drop"), leave: () => send("dragOver", [-10, -10]) };
}

test("a folder is dropped on the page, wherever on it, and what is too much is told", async () => {
  const page = await as(admin, { expected: REFUSED });
  await open(page, `${berth.address}/deploy`);
  const aside = await drag(page, join(EXAMPLES, "rate-limiter"));
  await page.getByText("Let go to choose it").waitFor();
  assert.equal(await page.locator("[data-drop][data-over]").count(), 1);
  await aside.leave();
  await page.getByText("Drop a folder here").waitFor();
  assert.equal(await page.locator("[data-drop][data-over]").count(), 0);

  const many = await mkdtemp(join(berth.folder, "many-"));
  for (let made = 0; made <= 5000; made += 1) await writeFile(join(many, `${made}.js`), "");
  await (await drag(page, many)).drop();
  await page.getByText("More than 5,000 files").waitFor({ timeout: LONG_MS });
  const tooMuch = page.getByRole("alert").filter({ hasText: "At most 5,000 files and 32 MiB" });
  await tooMuch.waitFor();
  await page.getByRole("button", { name: "Deploy" }).click();
  await tooMuch.waitFor();
  await rm(many, { recursive: true });

  const large = await mkdtemp(join(berth.folder, "large-"));
  await writeFile(join(large, "large.bin"), "");
  await truncate(join(large, "large.bin"), 33 * 1024 * 1024);
  await (await drag(page, large)).drop();
  await page.getByText("1 file, 33 MiB").waitFor();
  await tooMuch.waitFor();
  await assertGoodPage(page, "deploy-too-much");
  await rm(large, { recursive: true });

  await (await drag(page, join(EXAMPLES, "rate-limiter"))).drop();
  await page.getByText(/^[0-9]+ files, [0-9.]+ KiB$/).waitFor();
  assert.equal(await page.getByRole("alert").count(), 0);
  await page.getByRole("button", { name: "Deploy" }).click();
  await page.getByText("Version 1 of rate-limiter is deployed.").waitFor();
  await page.getByText("Running on 2 hosts", { exact: true }).waitFor({ timeout: LONG_MS });
  assertQuiet(page);
  await page.context().close();
});

test("what is sent can be cancelled, and a wrong name is told beside its field", async () => {
  const page = await as(admin, { expected: REFUSED });
  await open(page, `${berth.address}/deploy`);
  const large = await mkdtemp(join(berth.folder, "slow-"));
  await writeFile(join(large, "wrangler.toml"), 'name = "slow"\nmain = "index.js"\n');
  await writeFile(join(large, "index.js"), "export default { fetch() { return new Response(); } };\n");
  await writeFile(join(large, "large.bin"), "");
  await truncate(join(large, "large.bin"), 30 * 1024 * 1024);
  await page.getByLabel("A folder").setInputFiles(large);
  const network = await page.context().newCDPSession(page);
  const sendAt = (uploadThroughput) =>
    network.send("Network.emulateNetworkConditions", { offline: false, latency: 0, downloadThroughput: -1, uploadThroughput });
  await sendAt(1024 * 1024);
  await page.getByRole("button", { name: "Deploy" }).click();
  await page.getByText("Sending …").waitFor();
  await page.getByRole("button", { name: "Cancel" }).focus();
  await page.keyboard.press("Enter");
  await page.getByText("Cancelled: nothing was deployed.").waitFor();
  assert.equal(await page.getByRole("button", { name: "Deploy" }).evaluate((button) => button === document.activeElement), true);
  assert.equal(await page.getByRole("button", { name: "Cancel" }).count(), 0);
  await sendAt(-1);
  await rm(large, { recursive: true });

  await page.getByLabel("A folder").setInputFiles(join(EXAMPLES, "document"));
  await page.getByLabel("Name").fill("Not A Name");
  await page.getByRole("button", { name: "Deploy" }).click();
  await page.locator("#name-error").getByText(/^'Not A Name' /).waitFor();
  assert.equal(await page.getByLabel("Name").evaluate((field) => field === document.activeElement && field.ariaInvalid), "true");
  await assertGoodPage(page, "deploy-wrong-name");
  await page.getByLabel("Name").fill("right");
  await page.locator("#name-error").waitFor({ state: "hidden" });
  const listed = JSON.parse(await cli("list", "--json")).map(({ name }) => name);
  assert.ok(!listed.includes("slow") && !listed.includes("right"), listed.join(" "));
  assertQuiet(page);
  await page.context().close();
});

test("an address that leads nowhere says so, to people and to programs", async () => {
  const { port } = new URL(berth.address);
  const page = await newPage(browser, { expected: [/status of 404/] });
  const answer = await page.goto(`http://nothing.localhost:${port}/some/where`);
  assert.equal(answer.status(), 404);
  await page.getByRole("heading", { level: 1, name: "There is nothing at this address" }).waitFor();
  await page.getByText("has the name “nothing”.", { exact: false }).waitFor();
  assert.equal(await page.getByRole("link", { name: "Go to the portal" }).getAttribute("href"), berth.address);
  for (const colorScheme of THEMES) {
    await page.emulateMedia({ colorScheme });
    const { violations } = await new AxeBuilder({ page }).analyze();
    assert.deepEqual(violations.map(({ id, help }) => `${id}: ${help}`), [], colorScheme);
    await page.screenshot({ path: new URL(`../results/nowhere-${colorScheme}.png`, import.meta.url).pathname });
  }
  assertQuiet(page);
  await page.context().close();
  for (const method of ["GET", "POST"]) {
    const { status, text } = await call("nothing", "/", { method });
    const { type, title } = JSON.parse(text);
    assert.deepEqual([status, type, title], [404, "urn:berth:problem:not-found", "There is nothing at this address"], method);
  }
});

test("a mistake is told at its file, line and column, in the page and on the command line", async () => {
  const folder = await mkdtemp(join(berth.folder, "broken-"));
  await mkdir(join(folder, "src"));
  await writeFile(join(folder, "wrangler.toml"), 'name = "broken"\nmain = "src/index.ts"\n');
  await writeFile(join(folder, "src/index.ts"), "const a: number = 1;\nexport default { fetch() { return a +; } };\n");
  const place = "src/index.ts:2:38";
  const page = await as(admin, { expected: REFUSED });
  await open(page, `${berth.address}/deploy`);
  await page.getByLabel("A folder").setInputFiles(folder);
  const send = page.getByRole("button", { name: "Deploy" });
  await send.press("Enter");
  await page.getByRole("alert").filter({ hasText: place }).waitFor();
  assert.ok(await send.evaluate((button) => button === document.activeElement), "the keyboard is where it was");
  await assertGoodPage(page, "deploy-refused");
  await page.context().close();
  const refused = await cli("deploy", folder).then(() => null, (error) => error);
  assert.equal(refused?.code, 2);
  assert.ok(refused.stderr.includes(place), refused.stderr);

  // What only the hosts find out, when they load it.
  await writeFile(join(folder, "src/index.ts"), "const a: number = 1;\nmissing.call(a);\nexport default { fetch() { return new Response(); } };\n");
  const unloadable = await as(admin);
  await open(unloadable, `${berth.address}/deploy`);
  await unloadable.getByLabel("A folder").setInputFiles(folder);
  await unloadable.getByRole("button", { name: "Deploy" }).click();
  await unloadable.getByText("No host can run it", { exact: true }).waitFor({ timeout: LONG_MS });
  const said = unloadable.getByRole("list", { name: "Hosts" }).getByText(/src\/index\.ts:2:\d+: ReferenceError: .*missing/);
  assert.equal(await said.count(), 2);
  await assertGoodPage(unloadable, "deploy-unloadable");
  await unloadable.context().close();
  const failed = await cli("deploy", folder).then(() => null, (error) => error);
  assert.equal(failed?.code, 1);
  assert.match(failed.stderr, /version 1 does not run:\n {2}local-1, local-2: .*src\/index\.ts:2:\d+: ReferenceError/);
  await cli("delete", "broken", "--yes");

  // Deeper than any parser follows: the reader ends, the portal does not.
  await writeFile(join(folder, "src/index.ts"), `export default ${"(".repeat(400_000)}1${")".repeat(400_000)};\n`);
  const deep = await as(admin, { expected: REFUSED });
  await open(deep, `${berth.address}/deploy`);
  await deep.getByLabel("A folder").setInputFiles(folder);
  await deep.getByRole("button", { name: "Deploy" }).click();
  await deep.getByRole("alert").filter({ hasText: "nested too deeply" }).waitFor();
  await deep.goto(`${berth.address}/deployments`);
  await deep.getByRole("link", { name: "chat", exact: true }).waitFor();
  assertQuiet(deep);
  await deep.context().close();
  await rm(folder, { recursive: true });
});

test("a folder is deployed without JavaScript, and refused with what is wrong", async () => {
  const page = await as(admin, { javaScript: false, expected: REFUSED });
  await page.goto(`${berth.address}/deploy`);
  await page.getByLabel("A folder").setInputFiles(join(EXAMPLES, "document"));
  await page.getByLabel("Name").fill("Not A Name");
  await page.getByRole("button", { name: "Deploy" }).click();
  const beside = async () => {
    const field = page.getByLabel("Name");
    assert.equal(await field.getAttribute("aria-invalid"), "true");
    return page.locator("#name-error").innerText();
  };
  await page.locator("#name-error").waitFor();
  assert.match(await beside(), /letters/);
  await page.goto(`${berth.address}/deploy`);
  await page.getByLabel("A folder").setInputFiles(join(EXAMPLES, "document"));
  await page.getByRole("button", { name: "Deploy" }).click();
  await page.getByRole("heading", { level: 1, name: "document" }).waitFor();
  await page.getByText(/^version 1, running on (2|[01] of 2) hosts$/).waitFor();
  assertQuiet(page);
  await page.context().close();
  await answers("document", "/notes", "[]");
  assert.equal((await call("document", "/notes/1", { method: "PUT", body: "the quick fox" })).text, '{"version":1}');
  assert.equal((await call("document", "/notes/1", { method: "PUT", body: "the slow fox" })).text, '{"version":2}');
  assert.ok((await call("document", "/notes?find=slow")).text.includes("the slow fox"));
  assert.equal((await call("document", "/notes/undo", { method: "POST" })).text, '{"version":1}');
  assert.equal((await call("document", "/notes")).text, '["the quick fox"]');
});

test("the command line deploys, waits until it answers, and counts", async () => {
  const { port } = new URL(berth.address);
  assert.equal((await cli("deploy", join(EXAMPLES, "counter"))).trim(), `http://counter.localhost:${port}`);
  for (const expected of ["1\n", "2\n", "3\n"]) {
    assert.deepEqual(await call("counter", "/a", { method: "POST" }), { status: 200, text: expected });
  }
  assert.equal((await call("counter", "/a")).text, "3\n");
  const headers = { "x-client": "ann" };
  // At once: each second gives one more leave to go on.
  const asked = Array.from({ length: 16 }, () => call("rate-limiter", "/", { headers }));
  const states = (await Promise.all(asked)).map(({ status }) => status);
  const count = (wanted) => states.filter((status) => status === wanted).length;
  assert.ok(count(200) >= 5 && count(429) >= 1 && count(200) + count(429) === states.length, states.join(" "));
  await cli("deploy", join(EXAMPLES, "scheduler"));
  await answers("scheduler", "/jobs", "[]");
  assert.equal((await call("scheduler", "/jobs?in=500", { method: "POST", body: "water the plants" })).status, 201);
  await until("the job is done at its time", async () => {
    const [job] = JSON.parse((await call("scheduler", "/jobs")).text);
    return job.payload === "water the plants" && job.done >= job.due;
  });
  const listed = JSON.parse(await cli("list", "--json")).map(({ name }) => name);
  assert.deepEqual(listed.sort(), ["chat", "counter", "document", "rate-limiter", "scheduler"]);
});

test("another version takes over, and is rolled back in the page; what objects hold stays", async () => {
  const folder = await mkdtemp(join(berth.folder, "second-"));
  await writeFile(join(folder, "wrangler.json"), JSON.stringify({
    name: "counter", main: "index.js", durable_objects: { bindings: [{ name: "COUNTERS", class_name: "Counter" }] },
    migrations: [{ tag: "v1", new_sqlite_classes: ["Counter"] }],
  }));
  await writeFile(join(folder, "index.js"), `import { DurableObject } from "cloudflare:workers";
export class Counter extends DurableObject { async fetch() { return new Response(\`second \${await this.ctx.storage.get("value")}\\n\`); } }
export default { fetch(request, env) { console.warn("asked for", new URL(request.url).pathname); return env.COUNTERS.getByName(new URL(request.url).pathname).fetch(request); } };
`);
  await cli("deploy", folder, "--note", "reads alone");
  await rm(folder, { recursive: true });
  await answers("counter", "/a", "second 3\n");

  const page = await as(admin);
  await open(page, `${berth.address}/deployments/counter/versions`);
  await page.getByText("reads alone").waitFor();
  await assertGoodPage(page, "deployment-versions");
  await page.getByRole("button", { name: "Run version 1" }).click();
  await answers("counter", "/a", "3\n");
  await until("the first version counts on", async () => (await call("counter", "/a", { method: "POST" })).text === "4\n");
  assertQuiet(page);
  await page.context().close();
});

test("objects are found, looked into by keys and by SQL, and heard", async () => {
  const page = await as(admin);
  await open(page, `${berth.address}/deployments/counter/objects?q=${encodeURIComponent("/a")}`);
  await page.getByRole("link", { name: "/a", exact: true }).waitFor({ timeout: LONG_MS });
  await assertGoodPage(page, "objects");
  await page.getByRole("link", { name: "/a", exact: true }).click();
  await page.getByRole("heading", { level: 2, name: "Keys" }).waitFor();
  await page.getByRole("rowheader", { name: "value" }).waitFor();
  await assertGoodPage(page, "object");
  await page.context().close();

  const kv = JSON.parse(await cli("kv", "counter", "Counter", "/a", "--json"));
  assert.deepEqual(kv.map(({ key }) => key), ["value"]);
  const asked = await as(admin);
  await open(asked, `${berth.address}/deployments/scheduler/objects`);
  await asked.getByRole("link", { name: "/jobs", exact: true }).click();
  await asked.getByLabel("One statement that only reads").fill("SELECT payload FROM jobs");
  await asked.getByRole("button", { name: "Ask" }).click();
  await asked.getByRole("cell", { name: "water the plants" }).waitFor();
  await asked.getByText("job 1: water the plants").waitFor();
  assert.equal(await asked.locator("header .crumbs").getByRole("link", { name: "Objects of scheduler" }).count(), 1);
  await asked.getByLabel("One statement that only reads").fill("DELETE FROM jobs");
  await asked.getByRole("button", { name: "Ask" }).click();
  await asked.getByText("only statements that read", { exact: false }).waitFor();
  await open(asked, `${berth.address}/deployments/scheduler/console`);
  await asked.getByText("job 1: water the plants").waitFor();
  await assertGoodPage(asked, "deployment-console");
  await asked.context().close();
  assert.equal(await cli("sql", "scheduler", "Scheduler", "/jobs", "SELECT count(*) AS n FROM jobs"), "n\n1\n");
});

test("colleagues call and list it; what it holds is for whoever deployed it", async () => {
  const bob = await member(browser, berth, admin, { name: "Bob", role: "engineer" });
  const page = await as(bob, { expected: [/status of 403/] });
  await open(page, `${berth.address}/deployments/counter/objects?q=${encodeURIComponent("/a")}`);
  await page.getByRole("link", { name: "/a", exact: true }).click();
  await page.getByText("Counter", { exact: true }).first().waitFor();
  assert.equal(await page.getByRole("heading", { name: "Keys" }).count(), 0);
  await open(page, `${berth.address}/deployments/counter/console`);
  await page.getByText("Only whoever deployed it").waitFor();
  await open(page, `${berth.address}/deployments/counter/settings`);
  assert.equal(await page.getByRole("button", { name: "Delete" }).count(), 0);
  const [{ id }] = (await (await page.request.get(`${berth.address}/api/v1/objects?deployment=counter`)).json()).items;
  for (const part of ["kv", "console"]) {
    const refused = await page.request.get(`${berth.address}/api/v1/objects/counter/Counter/${id}/${part}`);
    assert.equal(refused.status(), 403, part);
  }
  assertQuiet(page);
  await page.context().close();
});

test("an object, then a deployment, is deleted by typing what is lost", async () => {
  const page = await as(admin, { expected: REFUSED });
  await open(page, `${berth.address}/deployments/counter/objects?q=${encodeURIComponent("/a")}`);
  await page.getByRole("link", { name: "/a", exact: true }).click();
  await page.getByRole("button", { name: "Delete" }).first().click();
  const word = (await page.getByLabel(/^Type /).evaluate((field) => field.labels[0].textContent)).match(/Type (\S+)/)[1];
  await page.getByLabel(/^Type /).fill(word);
  await page.getByRole("dialog").getByRole("button", { name: "Delete" }).click();
  await page.waitForURL(/\/deployments\/counter\/objects$/);
  await answers("counter", "/a", "0\n");

  await open(page, `${berth.address}/deployments/counter/settings`);
  await assertGoodPage(page, "deployment-settings");
  await page.getByRole("button", { name: "Delete" }).first().click();
  await page.getByLabel("Type counter to confirm").fill("counter");
  await page.getByRole("dialog").getByRole("button", { name: "Delete" }).click();
  await page.waitForURL(/\/deployments$/);
  await page.getByRole("link", { name: "chat", exact: true }).waitFor();
  assert.equal(await page.getByRole("link", { name: "counter", exact: true }).count(), 0);
  // As any name that leads nowhere.
  await until("its address leads nowhere", async () => (await call("counter", "/a")).status === 404);
  await assertGoodPage(page, "deployments");
  await page.context().close();
});
