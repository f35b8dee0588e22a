// What people do with a session.

/** Ends the session of this page. */
export async function giveBack(page) {
  await page.getByRole("button", { name: "End session" }).click();
  await page.getByRole("dialog", { name: "End this session?" }).getByRole("button", { name: "End session" }).click();
}
