// A server that is killed under open pages and started again on the same data.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { startBerth } from "../harness/berth.js";
import { assertQuiet, launchBrowser, LONG_MS, newPage, open, TEST_MS } from "../harness/browser.js";
import { enter } from "../harness/people.js";
import { startServer } from "../harness/server.js";
import { giveBack } from "../harness/sessions.js";
import { terminal } from "../harness/terminal.js";

/** What the browser itself says of a server that is not there. */
const CUT = [/ERR_(EMPTY_RESPONSE|CONNECTION|SOCKET|INCOMPLETE|NETWORK)/, /WebSocket connection/];

let berth;
let browser;
let server;

before(async () => {
  berth = await startBerth({ agents: 0 });
  browser = await launchBrowser();
  server = await startServer(berth);
});

after(async () => {
  await server?.stop();
  await browser?.close();
  await berth?.stop();
});

test("open pages come back by themselves after the server was killed and started again", { timeout: TEST_MS }, async () => {
  const { storageState } = await enter(browser, server.sign_in);
  const page = () => newPage(browser, { storageState, expected: CUT });
  const [list, own] = [await page(), await page()];
  const row = list.getByRole("row").filter({ hasText: "own-1/slot-1" });
  await open(list, `${server.address}/machines`);
  await row.getByText("free", { exact: true }).waitFor({ timeout: LONG_MS });
  await open(own, `${server.address}/machines`);
  await own.getByRole("button", { name: "Book own-1/slot-1 now" }).click();
  await own.getByRole("button", { name: "1 hour" }).and(own.locator(":visible")).click();
  await own.waitForURL(/\/sessions\//);
  const shell = terminal(own, 1);
  await shell.focus();
  await shell.type("kept=before-$((40 + 2)); echo ready-$((1 + 1))\n");
  await shell.shows(/ready-2/);
  await row.getByText("in use", { exact: true }).waitFor({ timeout: LONG_MS });
  for (const open of [list, own]) await open.evaluate(() => { window.sameDocument = true; });

  await server.kill();
  const away = (page) => page.getByText("No connection to the server.");
  for (const open of [list, own]) await away(open).waitFor({ timeout: LONG_MS });
  await shell.box.getByText("Connection lost, trying again").waitFor({ timeout: LONG_MS });
  await row.getByText("in use", { exact: true }).waitFor();

  await server.start();
  for (const open of [list, own]) await away(open).waitFor({ state: "detached", timeout: LONG_MS });
  await shell.focus();
  await shell.type("clear; echo again-$kept\n");
  await shell.shows(/again-before-42/);
  await own.getByText("active", { exact: true }).first().waitFor();
  await giveBack(own);
  await own.getByText("ended", { exact: true }).first().waitFor({ timeout: LONG_MS });
  await row.getByText("free", { exact: true }).waitFor({ timeout: LONG_MS });
  for (const open of [list, own]) {
    assert.ok(await open.evaluate(() => window.sameDocument), "the document was not loaded again");
    assertQuiet(open);
    await open.context().close();
  }
});
