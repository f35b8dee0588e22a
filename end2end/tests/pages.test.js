// Every page: whom it opens for, accessible in both themes, narrow, with a clean console, whole without JavaScript.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { startBerth } from "../harness/berth.js";
import { assertGoodPage, assertQuiet, launchBrowser, newPage, open } from "../harness/browser.js";
import { enter, member } from "../harness/people.js";

let berth;
let browser;
const people = {};

before(async () => {
  berth = await startBerth({ agents: 1 });
  browser = await launchBrowser();
  people.admin = await enter(browser, berth.sign_in);
  people.manager = await member(browser, berth, people.admin, { name: "Mia Manager", role: "manager" });
  people.engineer = await member(browser, berth, people.admin, { name: "Eli Engineer", role: "engineer" });
});

after(async () => {
  await browser?.close();
  await berth?.stop();
});

const as = (role, options = {}) => newPage(browser, { storageState: people[role].storageState, ...options });

const ROLES = ["engineer", "manager", "admin"];
/** Name, address, heading, the least role that it opens for, and the place it belongs to where the heading is another. */
const PAGES = [
  ["home", "/", "Now and next", "engineer", "Home"],
  ["machines", "/machines", "Machines", "engineer"],
  ["machines-none", "/machines?q=nothing-has-this-name", "Machines", "engineer"],
  ["reserve", "/reserve", "Reserve", "engineer"],
  ["reserve-week", "/reserve?view=week", "Reserve", "engineer"],
  ["reserve-list", "/reserve?view=list", "Reserve", "engineer"],
  ["sessions", "/sessions", "Sessions", "engineer"],
  ["deployments", "/deployments", "Deployments", "engineer"],
  ["deploy", "/deploy", "Deploy", "engineer", "Deployments"],
  ["tokens", "/tokens", "Tokens", "engineer"],
  ["account", "/account", "Account", "engineer", null],
  ["hosts", "/hosts", "Hosts", "engineer"],
  ["audit", "/audit", "Audit", "manager"],
  ["certificates", "/hosts/certificates", "Zero certificates", "admin", "Hosts"],
  ["instructions", "/instructions", "Instructions", "admin"],
  ["people", "/people", "People", "admin"],
];
const navigation = (page) => page.getByRole("navigation", { name: "Main" });
/** The places that the navigation marks. */
const marked = (page) => navigation(page).locator("a[aria-current]").allTextContents();
const opens = (role, least) => ROLES.indexOf(role) >= ROLES.indexOf(least);

for (const [name, address, heading] of PAGES) {
  test(`${name}: accessible in both themes, reflows, console clean`, async () => {
    const page = await as("admin");
    await open(page, berth.address + address);
    await page.getByRole("heading", { level: 1, name: heading }).waitFor();
    await assertGoodPage(page, name);
    await page.context().close();
  });
}

for (const role of ROLES) {
  test(`${role}: sees and reaches what the role allows, page by page, and all of it without JavaScript`, async () => {
    const page = await as(role, { javaScript: false, expected: [/status of 403/] });
    for (const [, address, heading, least, place = heading] of PAGES) {
      const answer = await page.goto(berth.address + address);
      const allowed = opens(role, least);
      assert.equal(answer.status(), allowed ? 200 : 403, `${address} for ${role}`);
      assert.equal(await page.getByRole("heading", { level: 1 }).textContent(), heading);
      assert.equal(await page.getByText("This page is for ").count(), allowed ? 0 : 1, `${address} for ${role}`);
      assert.equal(await page.locator(".skeleton").count(), 0, `${address} is whole`);
      // Some open for who finds no way to them in the navigation.
      const offered = await navigation(page).getByRole("link").allTextContents();
      assert.deepEqual(await marked(page), offered.filter((name) => name === place), `${address}: where one is`);
      if (!allowed) assert.equal(await page.locator("main form").count(), 0, `${address} offers ${role} nothing`);
    }
    await page.goto(berth.address);
    const places = await navigation(page).getByRole("link").allTextContents();
    assert.equal(places.includes("People"), role === "admin");
    assert.equal(places.includes("Audit"), role !== "engineer");
    assert.equal(await page.getByRole("heading", { name: "The team" }).count(), role === "engineer" ? 0 : 1);
    assertQuiet(page);
    await page.context().close();
  });
}

test("the navigation marks where one is, also where no document is loaded", async () => {
  const page = await as("admin");
  await open(page, `${berth.address}/deployments`);
  assert.deepEqual(await marked(page), ["Deployments"]);
  await page.getByRole("main").getByRole("link", { name: /^Deploy/ }).first().click();
  await page.getByRole("heading", { level: 1, name: "Deploy" }).waitFor();
  assert.deepEqual(await marked(page), ["Deployments"]);
  await navigation(page).getByRole("link", { name: "Hosts" }).click();
  await page.getByRole("heading", { level: 1, name: "Hosts" }).waitFor();
  assert.deepEqual(await marked(page), ["Hosts"]);
  assertQuiet(page);
  await page.context().close();
});

test("an engineer reaches neither others' sessions nor an admin's acts, whatever is asked", async () => {
  const owner = await as("admin");
  const made = await owner.request.post(`${berth.address}/api/v1/reservations`, {
    headers: { origin: berth.address },
    data: { machine: "local-1/slot-1", start: new Date(Date.now() + 86_400_000).toISOString(), duration_s: 3600 },
  });
  assert.equal(made.status(), 201, await made.text());
  const session = (await made.json()).sessions[0].id;
  await owner.context().close();

  const page = await as("engineer", { expected: [/status of 40[34]/] });
  const answer = await page.goto(`${berth.address}/sessions/${session}`);
  assert.ok([403, 404].includes(answer.status()), `${answer.status()}`);
  assert.equal(await page.getByText("Dev Admin").count(), 0);
  await open(page, `${berth.address}/hosts`);
  await page.getByRole("link", { name: "local-1", exact: true }).click();
  await page.getByRole("heading", { level: 1, name: "local-1" }).waitFor();
  for (const act of ["Drain", "Put in maintenance", "Revoke", "Delete"]) {
    assert.equal(await page.getByRole("button", { name: act, exact: true }).count(), 0, act);
  }
  const host = new URL(page.url()).pathname.split("/").at(-1);
  for (const [name, form] of [
    ["hosts-act", { host, act: "drain" }], ["people-invite", { email: "x@example.org", name: "X", role: "admin" }],
    ["zero-certificates-create", { name: "x", max_uses: 1, lifetime_hours: 1, join: "open" }],
    ["instructions-run", { hosts: "local-1", labels: "", command: "id", timeout_s: 5 }], ["audit-list"], ["home-team"],
    ["instructions-list"],
  ]) {
    // What a page reads is asked for in JSON.
    const refused = await page.request.post(`${berth.address}/fn/${name}`, {
      headers: { origin: berth.address, accept: "application/json" }, ...(form ? { form } : { data: {} }),
    });
    assert.equal(refused.status(), 403, `${name}: ${await refused.text()}`);
  }
  assertQuiet(page);
  await page.context().close();
});

test("what is not there says so: a machine, a session, a host, an instruction, a deployment", async () => {
  const page = await as("admin", { expected: [/status of 404/] });
  for (const kind of ["machines", "sessions", "hosts", "instructions", "deployments"]) {
    const answer = await page.goto(`${berth.address}/${kind}/01a1fd14-385a-75a2-a453-d0317034d891`);
    assert.equal(answer.status(), 404, kind);
    await page.getByRole("heading", { name: "This is not here" }).waitFor();
  }
  // A page of what is there has parts, each with a way to it.
  assert.equal(await page.getByRole("main").getByRole("navigation").count(), 0);
  await assertGoodPage(page, "missing");
  await page.context().close();
});

test("a refusal that no page handles is a page too, for a browser that asked for one", async () => {
  const page = await as("admin");
  const ask = (accept) => page.request.post(`${berth.address}/machines`, { headers: { origin: berth.address, accept } });
  const answer = await ask("text/html,*/*");
  assert.equal(answer.status(), 405);
  assert.match(answer.headers()["content-type"], /^text\/html/);
  assert.match(await answer.text(), /<h1[^>]*>This address takes no such form<\/h1>/);
  assert.doesNotMatch((await ask("application/json")).headers()["content-type"] ?? "", /html/);
  await page.context().close();
});

test("an engineer's refused page: accessible in both themes, and says whom it is for", async () => {
  const page = await as("engineer", { expected: [/status of 403/] });
  await open(page, `${berth.address}/people`);
  await page.getByText("This page is for admins").waitFor();
  await assertGoodPage(page, "denied");
  await page.context().close();
});

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

test("files are kept under an address that names their content, and asked for anew elsewhere", async () => {
  const page = await newPage(browser);
  await open(page, `${berth.address}/sign-in`);
  const versioned = await page.evaluate(() => performance.getEntriesByType("resource").map((entry) => entry.name).filter((name) => name.includes("/pkg/")));
  assert.ok(versioned.length >= 3 && versioned.every((name) => /\?v=[0-9a-f]{16}$/.test(name)), versioned.join("\n"));
  for (const name of versioned) {
    const answer = await page.request.head(name);
    assert.equal(answer.headers()["cache-control"], "public, max-age=31536000, immutable", name);
  }
  const plain = await page.request.get(`${berth.address}/icons.svg`);
  assert.equal(plain.headers()["cache-control"], "public, no-cache");
  const again = await page.request.get(`${berth.address}/icons.svg`, { headers: { "if-modified-since": plain.headers()["last-modified"] } });
  assert.equal(again.status(), 304);
  await page.context().close();
});

test("the first document that shows times is in the browser's zone", async () => {
  const cookies = people.admin.storageState.cookies.filter(({ name }) => name !== "berth-zone");
  const page = await newPage(browser, { storageState: { cookies, origins: [] } });
  await page.goto(`${berth.address}/machines`);
  await page.locator("html[data-hydrated][data-zone*='Europe/Berlin']").waitFor({ state: "attached" });
  await page.getByText("Times in Europe/Berlin").waitFor();
  assertQuiet(page);
  await page.context().close();
});
