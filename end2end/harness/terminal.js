// A terminal in the page, as a person reads and types it.

import { LONG_MS } from "./browser.js";

export function terminal(page, number) {
  const box = page.locator(`.terminal[data-number="${number}"]`);
  const screen = `.terminal[data-number="${number}"] .xterm-rows`;
  return {
    box,
    /** Waits until it is connected, and puts the keyboard on it. */
    async focus() {
      await box.getByText("Connected", { exact: true }).waitFor({ timeout: LONG_MS });
      await box.locator(".xterm-screen").click();
    },
    async type(text) { await page.keyboard.type(text); },
    /** Waits until the screen shows what fits `pattern`, and gives the last of it. */
    async shows(pattern) {
      const wanted = [screen, pattern.source];
      const last = ([screen, source]) =>
        [...(document.querySelector(screen)?.textContent ?? "").matchAll(new RegExp(source, "g"))].at(-1);
      await page.waitForFunction(last, wanted, { timeout: LONG_MS }).catch(async (late) => {
        throw new Error(`never ${pattern} on the screen, which shows ${await page.locator(screen).textContent()}`, { cause: late });
      });
      return page.evaluate(last, wanted);
    },
    /** As one does it by hand: the clipboard, and the terminal's own keys for it. */
    async paste(text) {
      await page.evaluate((text) => navigator.clipboard.writeText(text), text);
      await page.keyboard.press("Control+Shift+V");
    },
    /** The colour of the last piece of the screen that is `text`. */
    colour(text) {
      return page.evaluate(([screen, text]) => {
        const pieces = [...document.querySelectorAll(`${screen} span`)].filter((piece) => piece.textContent.trim() === text);
        return pieces.length ? getComputedStyle(pieces.at(-1)).color : undefined;
      }, [screen, text]);
    },
  };
}
