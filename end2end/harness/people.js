// People of a tenant, each with what their browser keeps once they are signed in.

import assert from "node:assert/strict";

import { alive, assertQuiet, newPage, open } from "./browser.js";

export const PASSWORD = "three quiet harbours";

/** Opens a one-time link, chooses a password, and gives `{ email, storageState }`. */
export async function enter(browser, link) {
  const page = await newPage(browser);
  await open(page, link);
  await page.getByRole("button", { name: "Continue" }).click();
  await page.waitForURL(/\/account/);
  await alive(page);
  const email = await page.locator("input[name=username]").getAttribute("value");
  await page.getByLabel("New password").fill(PASSWORD);
  await page.getByRole("button", { name: "Save password" }).click();
  await page.getByRole("heading", { level: 1, name: "Now and next" }).waitFor();
  const storageState = await page.context().storageState();
  assertQuiet(page);
  await page.context().close();
  return { email, storageState };
}

/** Has an admin invite somebody of this role, and signs them in. */
export async function member(browser, berth, admin, { name, role }) {
  const page = await newPage(browser, { storageState: admin.storageState });
  const email = `${name.toLowerCase().replaceAll(" ", ".")}@example.org`;
  const answer = await page.request.post(`${berth.address}/api/v1/people`, {
    headers: { origin: berth.address }, data: { email, name, role },
  });
  assert.equal(answer.status(), 201, await answer.text());
  const { link } = await answer.json();
  await page.context().close();
  return enter(browser, link.url);
}
