// JupyterLab in a tab of its own, its kernels as its pages reach them, and notebooks by REST.

import assert from "node:assert/strict";

import { LONG_MS } from "./browser.js";

const PAUSE_MS = 500;
/** As JupyterLab calls the kernel of every environment here. */
export const KERNEL = "Python 3 (ipykernel)";

/** Keeps what goes wrong in the tab in `trouble`. */
export function watch(tab, trouble) {
  tab.on("console", (message) => { if (message.type() === "error") trouble.push(message.text()); });
  tab.on("pageerror", (error) => trouble.push(error.message));
  tab.on("response", (answer) => { if (answer.status() >= 400) trouble.push(`${answer.status()} ${answer.url()}`); });
}

const dialog = (tab, title) => tab.locator(".jp-Dialog", { hasText: title });

/**
 * JupyterLab asks which kernel a document is to have if it opens it before it has heard which there are, as on a busy machine. It is
 * answered as a person answers it, once; what is asked again stays in the way.
 */
export async function answerKernel(tab) {
  const question = dialog(tab, "Select Kernel");
  const offered = question.locator("option", { hasText: KERNEL });
  await tab.addLocatorHandler(question, async () => {
    // The question offers what was known when it was asked.
    for (const limit = Date.now() + LONG_MS; (await offered.count()) === 0;) {
      assert.ok(Date.now() < limit, `${KERNEL} is never offered`);
      await question.locator(".jp-mod-reject").click();
      await question.waitFor({ state: "hidden" });
      await tab.locator(".jp-NotebookPanel:visible .jp-KernelName").getByRole("button").click();
      await question.waitFor();
    }
    await question.locator("select").selectOption({ label: KERNEL });
    await question.locator(".jp-mod-accept").click();
  }, { times: 1 });
}

/** Closes what JupyterLab says while its server is away, as often as it says it, until the function that this gives is called. */
export async function closeServerAway(tab) {
  const away = dialog(tab, "Server Connection Error");
  await tab.addLocatorHandler(away, () => away.locator(".jp-mod-reject").click());
  return () => tab.removeLocatorHandler(away);
}

/** Opens JupyterLab from the notebook's page in the portal. What goes wrong in the tab is kept in `trouble`. */
export async function jupyter(page, trouble) {
  page.context().once("page", (tab) => watch(tab, trouble));
  const [lab] = await Promise.all([
    page.context().waitForEvent("page"),
    page.getByRole("link", { name: "Open JupyterLab" }).click(),
  ]);
  await answerKernel(lab);
  await lab.waitForURL(/\/lab/);
  return lab;
}

/** The portal's REST API with the cookies of the page's context. */
export function rest(berth, page) {
  return async (method, path, data) => {
    const answer = await page.request.fetch(`${berth.address}/api/v1${path}`, { method, data, headers: { origin: berth.address } });
    assert.ok(answer.ok(), `${method} ${path}: ${answer.status()} ${await answer.text()}`);
    const text = await answer.text();
    return text ? JSON.parse(text) : undefined;
  };
}

/** Asks again until `check` gives something, or `limitMs` are over. */
export async function until(limitMs, what, check) {
  for (const limit = Date.now() + limitMs; ;) {
    const found = await check();
    if (found) return found;
    if (Date.now() > limit) throw new Error(`not within ${limitMs / 1000} s: ${what}`);
    await new Promise((next) => { setTimeout(next, PAUSE_MS); });
  }
}

/** Starts a kernel from JupyterLab's page; gives its id. */
export function startKernel(lab) {
  return lab.evaluate(async () => {
    const xsrf = document.cookie.match(/_xsrf=([^;]+)/)?.[1] ?? "";
    const headers = { "X-XSRFToken": xsrf, "Content-Type": "application/json" };
    const started = await fetch("/api/kernels", { method: "POST", headers, body: JSON.stringify({ name: "python3" }) });
    if (!started.ok) throw new Error(`kernel: ${started.status} ${await started.text()}`);
    return (await started.json()).id;
  });
}

/** Opens a kernel's socket in the page, as `window.kernel`, and gives when it is open. `window.kernel.closed` is when it was closed. */
export function openKernel(lab, id) {
  return lab.evaluate(async (id) => {
    const socket = new WebSocket(`ws://${location.host}/api/kernels/${id}/channels?session_id=test-${Date.now()}`);
    window.kernel = socket;
    socket.addEventListener("close", () => { socket.closed = Date.now(); });
    await new Promise((resolve, reject) => { socket.onopen = resolve; socket.onerror = () => reject(new Error("no socket")); });
  }, id);
}

/** Runs code on `window.kernel`; gives what it printed, or the name of its error. */
export function run(lab, code) {
  return lab.evaluate((code) => {
    const socket = window.kernel;
    const id = `${Date.now()}${Math.random()}`;
    const content = { code, silent: false, store_history: false, user_expressions: {}, allow_stdin: false };
    const header = { msg_id: id, session: "test", username: "", date: new Date().toISOString(), msg_type: "execute_request", version: "5.3" };
    socket.send(JSON.stringify({ channel: "shell", header, parent_header: {}, metadata: {}, content, buffers: [] }));
    return new Promise((resolve) => {
      let text = "";
      const told = { reply: false, idle: false };
      socket.addEventListener("message", ({ data }) => {
        const said = JSON.parse(data);
        if (said.parent_header.msg_id !== id) return;
        if (said.msg_type === "stream") text += said.content.text;
        if (said.msg_type === "error") text += said.content.ename;
        if (said.msg_type === "execute_reply") told.reply = true;
        if (said.msg_type === "status" && said.content.execution_state === "idle") told.idle = true;
        if (told.reply && told.idle) resolve(text);
      });
    });
  }, code);
}
