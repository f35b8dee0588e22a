// What Berth says inside JupyterLab's page: that the notebook stops soon as nobody uses it, that it was stopped, whose it is.
// Asking for it counts as no use. Where the server cannot be reached it is asked less and less often, as the browser's console
// notes each failure.
(() => {
  "use strict";
  const FIRST_RETRY_MS = 5_000;
  const LAST_RETRY_MS = 60_000;
  const HIDDEN_TIMES = 4;
  let timer;
  let retryMs = FIRST_RETRY_MS;
  let shown = "";
  let dismissed = "";

  const style = document.createElement("style");
  style.textContent = `
    .berth-notice { position: fixed; z-index: 100000; top: 36px; left: 50%; transform: translateX(-50%); box-sizing: border-box;
      display: flex; flex-wrap: wrap; gap: 8px 12px; align-items: center; max-width: min(680px, calc(100vw - 24px));
      padding: 10px 14px; border: 1px solid var(--jp-border-color1, #777); border-left: 4px solid #b45309; border-radius: 4px;
      background: var(--jp-layout-color1, Canvas); color: var(--jp-ui-font-color0, CanvasText);
      box-shadow: 0 2px 10px rgb(0 0 0 / 35%); font: 14px/1.4 system-ui, sans-serif; }
    .berth-notice p { margin: 0; flex: 1 1 260px; }
    .berth-notice button, .berth-notice a { min-height: 28px; padding: 3px 12px; border: 1px solid currentColor; border-radius: 4px;
      box-sizing: border-box; background: transparent; color: inherit; font: inherit; text-decoration: none; cursor: pointer; }
    .berth-notice .berth-main { background: #1d4ed8; border-color: #1d4ed8; color: #fff; }
    .berth-notice button:focus-visible, .berth-notice a:focus-visible { outline: 3px solid #f59e0b !important;
      outline-offset: 2px; }
    .berth-whose { position: fixed; z-index: 9999; top: 3px; right: 10px; padding: 2px 10px; border-radius: 10px;
      border: 1px solid var(--jp-border-color1, #777); background: var(--jp-layout-color2, Canvas);
      color: var(--jp-ui-font-color0, CanvasText); font: 12px/1.4 system-ui, sans-serif; pointer-events: none; }`;
  document.head.append(style);

  // It is there before anything is said in it: that is how screen readers come to say it.
  const region = document.createElement("div");
  region.setAttribute("role", "alert");
  const place = () => document.body.prepend(region);
  if (document.body) place(); else document.addEventListener("DOMContentLoaded", place);
  // JupyterLab's own keys are not for what is typed here.
  region.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && shown) {
      dismissed = shown;
      show("");
    }
    event.stopPropagation();
  });

  const element = (name, attributes, text) => {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.textContent = text;
    return made;
  };
  const button = (text, attributes, act) => {
    const made = element("button", { type: "button", ...attributes }, text);
    made.addEventListener("click", act);
    return made;
  };

  function show(key, ...parts) {
    if (key === shown) return;
    shown = key;
    region.replaceChildren();
    if (!key || key === dismissed) return;
    const box = element("div", { class: "berth-notice" }, "");
    box.append(...parts);
    region.append(box);
  }

  const clock = (text) => {
    const at = new Date(text);
    const day = at.toDateString() === new Date().toDateString() ? {} : { day: "numeric", month: "short" };
    return at.toLocaleString(undefined, { ...day, hour: "2-digit", minute: "2-digit" });
  };
  const portal = (href, text) => element("a", { href, target: "_blank", rel: "noopener", class: "berth-main" }, text);

  let whose;
  function tellWhose(text) {
    if (whose?.textContent === text || (!whose && !text)) return;
    whose?.remove();
    whose = text ? element("div", { class: "berth-whose", role: "note" }, text) : undefined;
    if (whose) document.body.append(whose);
  }

  function tell(state) {
    if (state.state === "gone") {
      show("gone", element("p", {}, "This notebook is not open to you any more: you have signed out, or it is no longer shared with you."),
        portal(state.portal, "Open the portal"));
      tellWhose("");
      return;
    }
    tellWhose(state.owner ? `${state.owner}'s notebook${state.is_reading ? ", read-only" : ""}` : "");
    if (state.state !== "running") {
      const why = state.cause ? ` (${state.cause.replace(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, clock)})` : "";
      show(`${state.state} ${state.cause}`, element("p", {}, `This notebook is ${state.state}${why}. Its files are kept.`),
        portal(state.portal, "Start it again in the portal"));
      return;
    }
    if (!state.stops_at) {
      show("");
      return;
    }
    const since = state.idle_since ? `, as nothing has run in it since ${clock(state.idle_since)}` : "";
    const text = element("p", {}, `This notebook stops at ${clock(state.stops_at)}${since}. Its files are kept.`);
    const key = `stops ${state.stops_at}`;
    if (state.is_reading) {
      show(key, text);
      return;
    }
    show(key, text,
      button("Keep running", { class: "berth-main" }, keep),
      button("Close", { "aria-label": "Close this notice" }, () => { dismissed = key; show(""); }));
  }

  async function keep() {
    try {
      const answer = await fetch("/.berth/keep", { method: "POST" });
      if (answer.ok) show("");
    } catch { /* The next look says how it stands. */ }
    look();
  }

  async function look() {
    clearTimeout(timer);
    let pause;
    try {
      const answer = await fetch("/.berth/state", { cache: "no-store" });
      const state = await answer.json();
      tell(state);
      if (state.state === "gone") return;
      pause = state.again_ms;
      retryMs = FIRST_RETRY_MS;
    } catch {
      pause = retryMs;
      retryMs = Math.min(retryMs * 2, LAST_RETRY_MS);
    }
    clearTimeout(timer);
    timer = setTimeout(look, document.hidden ? pause * HIDDEN_TIMES : pause);
  }

  document.addEventListener("visibilitychange", () => { if (!document.hidden && shown !== "gone") look(); });
  if (document.body) look(); else document.addEventListener("DOMContentLoaded", look);
})();
