// Booking and using a machine: two clicks, the form ahead, the keyboard alone, JavaScript off; terminals; the end.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { startBerth } from "../harness/berth.js";
import { alive, assertGoodPage, assertQuiet, launchBrowser, LONG_MS, newPage, open, TEST_MS, WIDTHS } from "../harness/browser.js";
import { startNetwork } from "../harness/network.js";
import { enter, PASSWORD } from "../harness/people.js";
import { giveBack } from "../harness/sessions.js";
import { terminal } from "../harness/terminal.js";

let berth;
let browser;
let network;
let admin;

before(async () => {
  berth = await startBerth({ agents: 2 });
  network = await startNetwork(berth.address);
  browser = await launchBrowser();
  admin = await enter(browser, berth.sign_in);
});

after(async () => {
  await browser?.close();
  await network?.close();
  await berth?.stop();
});

const signedIn = (options = {}) => newPage(browser, { storageState: admin.storageState, ...options });
const state = (page, word) => page.getByText(word, { exact: true }).first();
/** A time of the clock on the wall, for an input, in the zone that the browser has. */
const local = (hours) => new Date(Date.now() + hours * 3_600_000).toLocaleString("sv", { timeZone: "Europe/Berlin" }).slice(0, 16).replace(" ", "T");
const until = (page) => page.locator("dt", { hasText: "Until" }).locator("+ dd time").first().getAttribute("datetime");

async function bookNow(page, address = berth.address, row = page.getByRole("row").filter({ hasText: "free" }).first()) {
  await open(page, `${address}/machines`);
  const name = (await row.getByRole("rowheader").getByRole("link").first().textContent()).trim();
  await row.getByRole("button", { name: /^Book / }).click();
  await page.getByRole("button", { name: "2 hours" }).and(page.locator(":visible")).click();
  await page.waitForURL(/\/sessions\//);
  await state(page, "active").waitFor({ timeout: LONG_MS });
  return name;
}

/** Presses *End session* and says yes. */
async function end(page) {
  await giveBack(page);
  await state(page, "ended").waitFor({ timeout: LONG_MS });
}

async function extended(page, before, minutes) {
  await page.waitForFunction(([before, minutes]) => {
    const term = [...document.querySelectorAll("dt")].find((term) => term.textContent === "Until");
    return new Date(term?.nextElementSibling?.querySelector("time")?.dateTime) - new Date(before) === minutes * 60_000;
  }, [before, minutes]);
}

test("two clicks book a machine; steps, terminals, extension, end and checks come without a reload", { timeout: TEST_MS }, async () => {
  const page = await signedIn();
  await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
  await page.addInitScript(() => {
    // What the page showed on the way, however short.
    window.seen = new Set();
    new MutationObserver(() => {
      for (const badge of document.querySelectorAll("main .card .status")) window.seen.add(badge.textContent.trim());
    }).observe(document, { childList: true, subtree: true, characterData: true });
  });
  let documents = -1;
  const shells = [];
  page.on("websocket", (socket) => { if (socket.url().includes("/terminal?")) shells.push(socket.url()); });
  page.on("request", (request) => { if (request.isNavigationRequest()) documents += 1; });
  const name = await bookNow(page);
  assert.equal(await page.getByRole("heading", { level: 1 }).textContent(), `Session on ${name}`);
  const steps = page.getByRole("list", { name: "Steps of this session" }).getByRole("listitem");
  assert.ok(await steps.filter({ hasText: ": done" }).count() > 0, "the steps of the preparation are shown");

  const first = terminal(page, 1);
  await first.focus();
  await first.type("echo $((6 * 7))-$(tput cols)\n");
  const wide = Number((await first.shows(/42-(\d+)/))[1]);
  await page.setViewportSize(WIDTHS.narrow);
  await first.type("clear; echo $((6 * 7))-$(tput cols)\n");
  const narrow = await page.waitForFunction((wide) => {
    const found = [...(document.querySelector(".xterm-rows")?.textContent ?? "").matchAll(/42-(\d+)/g)].at(-1);
    return found !== undefined && Number(found[1]) < wide;
  }, wide, { timeout: LONG_MS });
  assert.ok(await narrow.jsonValue());
  await page.setViewportSize(WIDTHS.wide);

  await first.type("clear; printf '\\033[31m%s\\033[0m\\n' hot$((1 + 1))\n");
  await first.shows(/hot2/);
  assert.equal(await first.colour("hot2"), "rgb(255, 138, 128)");
  await first.type("clear\n");
  await first.paste("echo pasted-$((40 + 2))\n");
  await page.keyboard.press("Enter");
  await first.shows(/pasted-42/);

  await page.getByRole("button", { name: "New terminal" }).click();
  const second = terminal(page, 2);
  await second.focus();
  await second.type("clear; echo two-$((1 + 1)); mesg=second\n");
  await second.shows(/two-2/);
  await first.focus();
  await first.type("clear; echo [$mesg]-$((2 + 1))\n");
  await first.shows(/\[\]-3/);

  const before = await until(page);
  await page.getByRole("button", { name: "+30 min" }).click();
  await extended(page, before, 30);
  assert.equal(shells.length, 2, "what changes on the page leaves its terminals alone");

  await end(page);
  const seen = await page.evaluate(() => [...window.seen]);
  assert.ok(seen.includes("reverting"), `reverting was shown: ${seen}`);
  for (const check of ["processes", "mounts", "files", "ports"]) {
    await steps.filter({ hasText: check }).filter({ hasText: ": done" }).first().waitFor();
  }
  assert.equal(documents, 0, "no document was loaded on the way");
  await open(page, `${berth.address}/machines?q=${encodeURIComponent(name)}`);
  await page.getByRole("row").filter({ hasText: name }).getByText("free", { exact: true }).waitFor({ timeout: LONG_MS });
  assertQuiet(page);
  await page.context().close();
});

test("a terminal comes back to its shell after the network was cut, and the page says how old it is", { timeout: TEST_MS }, async () => {
  const page = await signedIn({ expected: [/ERR_(EMPTY_RESPONSE|CONNECTION|SOCKET|INCOMPLETE|NETWORK)/, /WebSocket connection/] });
  await bookNow(page, network.address);
  const shell = terminal(page, 1);
  await shell.focus();
  await shell.type("kept=before-$((40 + 2)); echo ready-$((1 + 1))\n");
  await shell.shows(/ready-2/);
  network.cut();
  await shell.box.getByText("Connection lost, trying again").waitFor();
  await page.getByText("No connection to the server.").waitFor();
  network.mend();
  await shell.focus();
  await page.getByText("No connection to the server.").waitFor({ state: "detached" });
  await shell.type("clear; echo again-$kept\n");
  await shell.shows(/again-before-42/);
  await end(page);
  assertQuiet(page);
  await page.context().close();
});

test("a machine is booked ahead with the form, and what does not fit is refused beside it", async () => {
  const page = await signedIn({ expected: [/status of 4\d\d/] });
  await open(page, `${berth.address}/reserve`);
  const fill = async (machine, from, to) => {
    await page.getByLabel("Machine", { exact: false }).first().fill(machine);
    await page.getByLabel("From").fill(from);
    await page.getByLabel("Until").fill(to);
    await page.getByRole("button", { name: "Reserve", exact: true }).click();
  };
  const refused = page.locator("aside [role=alert]").and(page.locator(":visible")).first();
  await fill("no-such/machine", local(50), local(52));
  await refused.waitFor();
  await fill("local-1/slot-1", local(52), local(50));
  await page.locator("aside").getByText(/has to be after|after the start/).first().waitFor();
  await fill("local-1/slot-1", local(50), local(52));
  await page.waitForURL(/\/sessions\//);
  await state(page, "scheduled").waitFor();
  const session = page.url();
  // Overlaps: who has it, and when it is free.
  await open(page, `${berth.address}/reserve`);
  await fill("local-1/slot-1", local(51), local(53));
  await page.getByText("Free next:").waitFor();
  await page.getByText("Taken in that time").waitFor();
  await open(page, session);
  await page.getByRole("button", { name: "Cancel booking" }).click();
  await state(page, "ended").waitFor();
  assertQuiet(page);
  await page.context().close();
});

test("only lengths that end before the next booking are offered", async () => {
  const page = await signedIn();
  const answer = await page.request.post(`${berth.address}/api/v1/reservations`, {
    headers: { origin: berth.address },
    data: { machine: "local-2/slot-2", start: new Date(Date.now() + 100 * 60_000).toISOString(), duration_s: 3600 },
  });
  assert.equal(answer.status(), 201, await answer.text());
  await open(page, `${berth.address}/machines?q=local-2/slot-2`);
  await page.getByRole("button", { name: "Book local-2/slot-2 now" }).click();
  const menu = page.getByRole("dialog", { name: "Book local-2/slot-2 now" });
  await menu.getByText(/^free until \d{4}-\d\d-\d\d \d\d:\d\d$/).waitFor();
  assert.deepEqual((await menu.getByRole("button").allTextContents()).map((text) => text.replace(/\d\d:\d\d.*/, "T")), ["1 hour", "until T"]);
  await menu.getByRole("button", { name: /^until/ }).click();
  await page.waitForURL(/\/sessions\//);
  await state(page, "active").waitFor({ timeout: LONG_MS });
  await end(page);
  const booked = (await answer.json()).id;
  const cancelled = await page.request.delete(`${berth.address}/api/v1/reservations/${booked}`, { headers: { origin: berth.address } });
  assert.ok(cancelled.ok(), await cancelled.text());
  assertQuiet(page);
  await page.context().close();
});

test("without JavaScript one signs in, books ahead, is told of a clash, cancels, books now, extends and ends", { timeout: TEST_MS }, async () => {
  const page = await newPage(browser, { javaScript: false });
  // The zone of a browser without JavaScript is not known.
  const utc = (hours) => new Date(Date.now() + hours * 3_600_000).toISOString().slice(0, 16);
  await page.goto(`${berth.address}/sign-in`);
  await page.getByLabel("E-mail").fill(admin.email);
  await page.getByLabel("Password").fill(PASSWORD);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.waitForURL((url) => !url.pathname.startsWith("/sign-in"));

  const fields = {
    machine: page.getByLabel("Machine", { exact: false }).first(), from: page.getByLabel("From"), until: page.getByLabel("Until"),
    purpose: page.getByLabel("What for"), setup: page.getByLabel("Set-up script"),
  };
  const ahead = async (from = utc(30), until = utc(32)) => {
    await page.goto(`${berth.address}/reserve`);
    const machine = await page.locator(".timeline-name a").first().textContent();
    await page.getByText("Environment", { exact: true }).click();
    const typed = { machine: machine.trim(), from, until, purpose: "a <slow> build & more", setup: "echo 'one'\necho \"two\"" };
    for (const [name, text] of Object.entries(typed)) await fields[name].fill(text);
    await page.getByRole("button", { name: "Reserve", exact: true }).click();
    return typed;
  };
  const asTyped = async (typed) => {
    for (const [name, text] of Object.entries(typed)) assert.equal(await fields[name].inputValue(), text, name);
  };
  await ahead();
  await state(page, "scheduled").waitFor();
  assert.match(await page.getByRole("heading", { level: 1 }).textContent(), /^Session on local-/);
  const session = page.url();
  // A refusal leads back to the form with all that was typed, and stands beside its field.
  const taken = await ahead();
  await page.getByText("Taken in that time").waitFor();
  await asTyped(taken);
  const reversed = await ahead(utc(32), utc(30));
  await page.locator("#end-error").getByText(/./).waitFor();
  await asTyped(reversed);
  await page.goto(session);
  await page.getByRole("button", { name: "Cancel booking" }).click();
  await state(page, "ended").waitFor();

  await page.goto(`${berth.address}/machines`);
  const row = page.getByRole("row").filter({ hasText: "free" }).first();
  await row.getByRole("button", { name: /^Book / }).click();
  await page.getByRole("button", { name: "1 hour" }).and(page.locator(":visible")).click();
  await page.waitForURL(/\/sessions\//);
  // Nothing tells a page without scripts: one loads it again.
  const becomes = async (word) => {
    for (const limit = Date.now() + LONG_MS; !await state(page, word).isVisible();) {
      assert.ok(Date.now() < limit, `never ${word}`);
      await page.reload();
    }
  };
  await becomes("active");
  const before = await until(page);
  await page.getByRole("button", { name: "+30 min" }).click();
  await page.waitForURL(/\/sessions\//);
  assert.equal(new Date(await until(page)) - new Date(before), 30 * 60_000);
  await giveBack(page);
  await becomes("ended");
  assertQuiet(page);
  await page.context().close();
});

test("the keyboard alone finds a machine, books it and gives it back", { timeout: TEST_MS }, async () => {
  const page = await signedIn();
  const tabTo = async (target) => {
    for (let presses = 0; presses < 120; presses += 1) {
      if (await target.evaluate((element) => element === document.activeElement).catch(() => false)) return;
      await page.keyboard.press("Tab");
    }
    assert.fail(`the keyboard does not come to ${target}`);
  };
  await open(page, berth.address);
  await page.keyboard.press("Control+k");
  await page.keyboard.type("mach");
  await page.keyboard.press("Enter");
  await page.waitForURL(/\/machines/);
  const heading = page.getByRole("heading", { level: 1, name: "Machines" });
  await heading.waitFor();
  await page.waitForFunction(() => document.activeElement?.tagName === "H1");
  await page.keyboard.press("/");
  await page.keyboard.type("local-2/slot-1");
  await page.keyboard.press("Enter");
  await page.waitForURL(/q=local-2/);
  await alive(page);
  await tabTo(page.getByRole("button", { name: "Book local-2/slot-1 now" }));
  await page.keyboard.press("Enter");
  await tabTo(page.getByRole("button", { name: "1 hour" }).and(page.locator(":visible")));
  await page.keyboard.press("Enter");
  await page.waitForURL(/\/sessions\//);
  await state(page, "active").waitFor({ timeout: LONG_MS });
  await page.waitForFunction(() => document.activeElement?.tagName === "H1");
  await tabTo(page.getByRole("button", { name: "End session" }));
  await page.keyboard.press("Enter");
  await tabTo(page.getByRole("dialog", { name: "End this session?" }).getByRole("button", { name: "End session" }));
  await page.keyboard.press("Enter");
  await state(page, "ended").waitFor({ timeout: LONG_MS });
  await page.keyboard.press("?");
  await page.getByRole("dialog", { name: "Keys" }).waitFor();
  await page.keyboard.press("Escape");
  await page.getByRole("dialog", { name: "Keys" }).waitFor({ state: "hidden" });
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

test("dragging over free time, and clicking its start and its end, fill in the form", async () => {
  const page = await signedIn();
  await open(page, `${berth.address}/reserve?view=week`);
  const track = page.locator(".timeline-body .timeline-track").first();
  const box = await track.boundingBox();
  const at = (share) => [box.x + box.width * share, box.y + box.height / 2];
  await page.mouse.move(...at(0.6));
  await page.mouse.down();
  await page.mouse.move(...at(0.7), { steps: 4 });
  await page.mouse.up();
  await page.waitForURL(/machine=.*start=.*end=/);
  const dragged = await page.getByLabel("From").inputValue();
  assert.notEqual(dragged, "");
  await page.mouse.click(...at(0.8));
  await page.mouse.click(...at(0.85));
  await page.waitForURL((url) => !url.search.includes(encodeURIComponent(dragged)));
  assertQuiet(page);
  await page.context().close();
});

test("a narrow timeline begins at what is on now, and stays where one has scrolled to when a booking comes", async () => {
  const page = await signedIn({ viewport: WIDTHS.narrow });
  await open(page, `${berth.address}/reserve?view=week`);
  const timeline = page.locator(".timeline");
  await page.waitForFunction(() => {
    const [line, frame] = [".timeline-now", ".timeline"].map((one) => document.querySelector(one)?.getBoundingClientRect());
    return line && line.left > frame.left && line.left < frame.right;
  });
  await timeline.evaluate((grid) => { grid.scrollLeft = 30; });
  const blocks = await timeline.locator("[data-block]").count();
  const soon = (minutes) => new Date(Date.now() + minutes * 60_000).toISOString();
  const made = await page.request.post(`${berth.address}/api/v1/reservations`, {
    headers: { origin: berth.address }, data: { machine: "local-2/slot-2", start: soon(180), end: soon(240) },
  });
  assert.equal(made.status(), 201, await made.text());
  await timeline.locator("[data-block]").nth(blocks).waitFor({ state: "attached" });
  assert.equal(await timeline.evaluate((grid) => grid.scrollLeft), 30);
  const { id } = await made.json();
  await page.request.delete(`${berth.address}/api/v1/reservations/${id}`, { headers: { origin: berth.address } });
  assertQuiet(page);
  await page.context().close();
});

test("a session's page, active and ended: accessible in both themes, reflows, console clean", { timeout: TEST_MS }, async () => {
  const page = await signedIn();
  await bookNow(page);
  await terminal(page, 1).focus();
  await assertGoodPage(page, "session-active");
  await page.setViewportSize(WIDTHS.wide);
  await end(page);
  await assertGoodPage(page, "session-ended");
  await page.getByRole("link", { name: /^local-/ }).first().click();
  await page.waitForURL(/\/machines\//);
  await page.getByRole("heading", { name: "History" }).waitFor();
  await assertGoodPage(page, "machine");
  await page.context().close();
});
