// What people do in JupyterLab's own pages, and what of it lasts: over a reload, and over a server that is killed.

import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { after, before, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";

import { startBerth } from "../harness/berth.js";
import { assertQuiet, launchBrowser, LONG_MS, newPage } from "../harness/browser.js";
import { answerKernel, closeServerAway, KERNEL, until } from "../harness/jupyter.js";
import { enter } from "../harness/people.js";
import { startServer } from "../harness/server.js";

const BUILD_MS = 8 * 60_000;
const ASK_MS = 250;
/** Longer than JupyterLab shows nothing of a cell that is run; a cell that is run twice is saved twice. */
const TAKEN_MS = 15_000;
/** Nothing is on its way: longer than until the saving of what was run meanwhile (SAVE_EVERY_MS of crates/agent/src/notebooks/outputs). */
const SETTLED_MS = 3_000;
/** JupyterLab tries a socket that was lost 7 times, each time after up to twice as long as before: at last after up to 63 s. */
const RECONNECT_MS = 2 * LONG_MS;
/** What the browser itself says of a server that is not there. */
const CUT = [/ERR_(EMPTY_RESPONSE|CONNECTION|SOCKET|INCOMPLETE|NETWORK)/, /WebSocket connection/, /Failed to fetch/];
const NAME = "lasting";
const REQUIREMENTS = "matplotlib\n";

let berth;
let browser;
let server;
let page;

before(async () => {
  berth = await startBerth({ agents: 0 });
  browser = await launchBrowser();
  server = await startServer(berth, { notebooks: true });
  const { storageState } = await enter(browser, server.sign_in);
  page = await newPage(browser, { storageState, expected: CUT });
  const post = async (path, data) => {
    const answer = await page.request.post(`${server.address}/api/v1${path}`, { headers: { origin: server.address }, data });
    assert.equal(answer.status(), 201, await answer.text());
  };
  await post("/notebook-environments", { name: "plots", requirements: REQUIREMENTS });
  await post("/notebooks", { name: NAME, environment: "plots" });
  const state = async () => (await (await page.request.get(`${server.address}/api/v1/notebooks/${NAME}`)).json()).state;
  for (const limit = Date.now() + BUILD_MS; ;) {
    const now = await state();
    if (now === "running") break;
    assert.ok(now !== "failed" && Date.now() < limit, `the notebook is ${now}`);
    await delay(ASK_MS);
  }
});

after(async () => {
  await server?.stop();
  await browser?.close();
  await berth?.stop();
});

/** A document of JupyterLab with these cells in a tab of its own, made if it is not there; `isThere` waits until it can be used. */
async function openDocument(name, cells, isThere = ready) {
  const lab = await page.context().newPage();
  await answerKernel(lab);
  await lab.goto(`${server.address}/notebooks/${NAME}/open`);
  await lab.locator(".jp-Launcher:visible, .jp-NotebookPanel:visible").first().waitFor({ timeout: LONG_MS });
  await lab.evaluate(async ([name, sources]) => {
    const there = await fetch(`/api/contents/${name}?content=0`);
    if (there.ok) return;
    const cells = sources.map((source, at) => ({
      cell_type: "code", id: `cell-${at}`, source, metadata: {}, outputs: [], execution_count: null,
    }));
    const kernelspec = { name: "python3", display_name: "Python 3", language: "python" };
    const content = { cells, metadata: { kernelspec }, nbformat: 4, nbformat_minor: 5 };
    const xsrf = document.cookie.match(/_xsrf=([^;]+)/)?.[1] ?? "";
    const made = await fetch(`/api/contents/${name}`, {
      method: "PUT", headers: { "X-XSRFToken": xsrf, "Content-Type": "application/json" },
      body: JSON.stringify({ type: "notebook", format: "json", content }),
    });
    if (!made.ok) throw new Error(`${made.status} ${await made.text()}`);
  }, [name, cells]);
  // Without what was open before, which would come to the front for a moment.
  await lab.goto(`http://${NAME}.localhost:${new URL(server.address).port}/lab/tree/${name}?reset`);
  await isThere(lab);
  return lab;
}

/**
 * Waits until the kernel of the document in front is there. Before JupyterLab has heard of any it calls the document idle too; a cell
 * that is run then is lost, or it asks which kernel to take.
 */
async function ready(lab) {
  await lab.locator(".jp-NotebookPanel:visible .jp-KernelName").getByText(KERNEL).waitFor();
  await lab.locator(".jp-NotebookPanel:visible .jp-Notebook-ExecutionIndicator[data-status=idle]").waitFor({ timeout: LONG_MS });
}

function cell(lab, number) {
  return lab.locator(".jp-NotebookPanel:visible .jp-CodeCell").nth(number);
}

/** Runs the cell as one does it at the keyboard, again if JupyterLab was not yet listening. */
async function run(lab, number) {
  const taken = cell(lab, number).locator(".jp-InputPrompt").filter({ hasText: /\[(\*|\d+)\]/ });
  for (const limit = Date.now() + LONG_MS; ;) {
    await cell(lab, number).locator(".jp-InputArea-editor").click().catch(async (error) => {
      throw new Error(`${error.message}\nin front: ${await lab.locator(".jp-Dialog").allInnerTexts()}`);
    });
    await lab.keyboard.press("Control+Enter");
    if (await taken.waitFor({ timeout: TAKEN_MS }).then(() => true, () => false)) return;
    assert.ok(Date.now() < limit, "the cell is not run");
  }
}

/** Waits until `look`, which the page evaluates with `given`, is so. (`waitForFunction` takes any promise for a yes.) */
async function holds(lab, look, given) {
  for (const limit = Date.now() + LONG_MS; !(await lab.evaluate(look, given));) {
    assert.ok(Date.now() < limit, `never: ${look}`);
    await delay(ASK_MS);
  }
}

/** Waits until the document is saved and nothing was asked about it for a while. */
async function settled(lab, name) {
  const asked = new Map();
  let [isSaved, since] = [false, Date.now()];
  const note = (request, isOver) => {
    if (!request.url().includes(`/api/contents/${name}`)) return;
    since = Date.now();
    isSaved ||= isOver && request.method() === "PUT";
    if (isOver) asked.delete(request); else asked.set(request);
  };
  lab.on("request", (request) => note(request, false));
  lab.on("requestfinished", (request) => note(request, true));
  lab.on("requestfailed", (request) => asked.delete(request));
  for (const limit = Date.now() + LONG_MS; !isSaved || asked.size > 0 || Date.now() < since + SETTLED_MS;) {
    assert.ok(Date.now() < limit, `${name} is never saved`);
    await delay(ASK_MS);
  }
}

/** Lets a cell go on that waits for the file of this name; says whether the server took it. */
function go(lab, name) {
  return lab.evaluate(async (name) => {
    const xsrf = document.cookie.match(/_xsrf=([^;]+)/)?.[1] ?? "";
    const headers = { "X-XSRFToken": xsrf, "Content-Type": "application/json" };
    const body = JSON.stringify({ type: "file", format: "text", content: "" });
    return fetch(`/api/contents/${name}`, { method: "PUT", headers, body }).then(({ ok }) => ok, () => false);
  }, name);
}

async function prints(lab, number, text, limitMs = LONG_MS) {
  const printed = cell(lab, number).locator(".jp-OutputArea-output").getByText(text).first();
  await printed.waitFor({ timeout: limitMs }).catch(async (error) => {
    const kernels = await lab.evaluate(async () => (await fetch("/api/kernels")).text());
    throw new Error(`${error.message}\nthe cell: ${await cell(lab, number).innerText()}\nkernels: ${kernels}`);
  });
}

test("a plot is there after a reload", { timeout: 4 * LONG_MS }, async () => {
  const lab = await openDocument("plot.ipynb", ["import matplotlib.pyplot as plt\nplt.plot([1, 3, 2])\nplt.show()"]);
  const plot = cell(lab, 0).locator(".jp-OutputArea-output img");
  const isDrawn = () => plot.evaluate(async (image) => { await image.decode(); return image.naturalWidth > 100; });
  await run(lab, 0);
  await plot.waitFor({ timeout: LONG_MS });
  assert.ok(await isDrawn());
  await lab.keyboard.press("Control+s");
  await holds(lab, async () => {
    const saved = await (await fetch("/api/contents/plot.ipynb")).json();
    return saved.content.cells[0].outputs.some((output) => output.data?.["image/png"]);
  });
  await lab.reload();
  await ready(lab);
  await plot.waitFor({ timeout: LONG_MS });
  assert.ok(await isDrawn());
  await lab.close();
});

test("a cell goes on while the server is killed under the open page", { timeout: 4 * LONG_MS + 2 * RECONNECT_MS }, async () => {
  const lab = await openDocument("killed.ipynb", [
    "import os, time\nprint('begun', flush=True)\nwhile not os.path.exists('go-on'): time.sleep(0.05)\nprint('over', os.getpid())",
    "print(os.getpid() * 2)",
  ]);
  await lab.evaluate(() => { window.sameDocument = true; });
  // What is run is saved. A save that the server's end cuts off puts a dialog in the way, as JupyterLab's own would.
  const saved = settled(lab, "killed.ipynb");
  await run(lab, 0);
  await saved;
  await prints(lab, 0, "begun");
  const isBack = await closeServerAway(lab);
  await server.kill();
  await server.start();
  await until(LONG_MS, "the notebook answers again", () => go(lab, "go-on"));
  await prints(lab, 0, /over \d+/, RECONNECT_MS);
  await isBack();
  const [, pid] = /over (\d+)/.exec(await cell(lab, 0).locator(".jp-OutputArea-output").innerText());
  await run(lab, 1);
  await prints(lab, 1, String(pid * 2));
  assert.ok(await lab.evaluate(() => window.sameDocument), "the page was not loaded again");
  await lab.close();
});

test("a cell goes on while no page is open, and what it prints is in the next one", { timeout: 4 * LONG_MS }, async () => {
  const counting = [
    "import os, time\nfor number in range(3):\n    print('number', number, flush=True)\n    while not os.path.exists(f'go-{number}'): time.sleep(0.05)",
    "print('over')",
  ];
  const other = await openDocument("other.ipynb", []);
  let lab = await openDocument("away.ipynb", counting);
  await run(lab, 0);
  await prints(lab, 0, "number 0");
  await run(lab, 1);
  await lab.close();
  assert.ok(await go(other, "go-0"));
  // Its kernel is at work.
  lab = await openDocument("away.ipynb", counting, (lab) => cell(lab, 0).waitFor({ timeout: LONG_MS }));
  // It still runs: what it printed meanwhile is there, and what it prints now comes.
  await prints(lab, 0, "number 1");
  await cell(lab, 0).locator(".jp-InputPrompt").filter({ hasText: "[*]" }).waitFor({ timeout: LONG_MS });
  assert.ok(await go(other, "go-1"));
  await prints(lab, 0, "number 2");
  assert.ok(await go(other, "go-2"));
  await prints(lab, 1, "over");
  await cell(lab, 0).locator(".jp-InputPrompt").filter({ hasText: "[1]" }).waitFor({ timeout: LONG_MS });
  assert.equal((await cell(lab, 0).locator(".jp-OutputArea").innerText()).trim(), "number 0\nnumber 1\nnumber 2");
  // And it is in the file, once: what one has seen does not come again.
  await holds(lab, async () => {
    const saved = await (await fetch("/api/contents/away.ipynb")).json();
    // While JupyterLab writes the file, its server may answer that it cannot be read.
    return saved.content !== undefined && saved.content.cells.every((cell) => cell.outputs.length === 1);
  });
  await lab.close();
  await other.close();
});

test("a file is uploaded by the file browser", { timeout: 4 * LONG_MS }, async () => {
  const lab = await openDocument("upload.ipynb", [
    "import hashlib\nprint(hashlib.sha256(open('data.bin', 'rb').read()).hexdigest())",
  ]);
  // JupyterLab sends what is larger than 1 MB in pieces.
  const buffer = randomBytes(5_000_000);
  const choosing = lab.waitForEvent("filechooser");
  await lab.getByTitle(/^Upload Files/).first().click();
  await (await choosing).setFiles({ name: "data.bin", mimeType: "application/octet-stream", buffer });
  await lab.locator(".jp-DirListing-item").filter({ hasText: "data.bin" }).waitFor({ timeout: LONG_MS });
  await holds(lab, async (size) => {
    const file = await (await fetch("/api/contents/data.bin?content=0")).json();
    return file.size === size;
  }, buffer.length);
  await run(lab, 0);
  await prints(lab, 0, createHash("sha256").update(buffer).digest("hex"));
  await lab.close();
  assertQuiet(page);
});
