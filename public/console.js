// A console as it comes: <berth-console data-address="…"> around [data-lines], from server-sent events
// (server/src/rest/objects.rs). EventSource comes back by itself; what is kept is then sent anew.

const MOST_LINES = 1000;
/** Of these anybody is to be told without looking. */
const LOUD = new Set(["warn", "error"]);

class BerthConsole extends HTMLElement {
  connectedCallback() {
    this.lines = this.querySelector("[data-lines]");
    this.state = this.querySelector("[data-state]");
    this.querySelector("[data-clear]").addEventListener("click", () => this.lines.replaceChildren());
    // The zone of the profile, as all times on the page.
    this.zone = JSON.parse(document.documentElement.dataset.zone).name;
    const source = new EventSource(this.dataset.address);
    this.source = source;
    source.addEventListener("open", () => {
      this.lines.replaceChildren();
      this.state.textContent = "Live";
    });
    source.addEventListener("error", () => {
      this.state.textContent = source.readyState === EventSource.CLOSED ? "Ended: reload the page to go on" : "Lost: trying again …";
    });
    source.addEventListener("line", ({ data }) => this.line(JSON.parse(data)));
    source.addEventListener("lost", ({ data }) => {
      const { host, lines } = JSON.parse(data);
      this.show("lost", `${lines.toLocaleString("en-GB")} lines of ${host} are kept no more`);
    });
    source.addEventListener("away", ({ data }) => {
      const { host, why } = JSON.parse(data);
      this.show("away", `${host}: ${why}`);
    });
    source.addEventListener("end", ({ data }) => {
      source.close();
      this.state.textContent = `Ended: ${JSON.parse(data).reason}`;
    });
  }

  disconnectedCallback() {
    this.source?.close();
  }

  line({ at, level, host, class: name, id, name: called, text }) {
    const who = name ? `${name} ${called ?? id?.slice(0, 8) ?? ""}`.trim() : "worker";
    const time = new Date(at).toLocaleTimeString("en-GB", { timeZone: this.zone });
    this.show(level, text, time, who, host);
  }

  show(level, text, ...about) {
    const atEnd = this.lines.scrollHeight - this.lines.scrollTop - this.lines.clientHeight < 8;
    const row = document.createElement("div");
    row.className = `console-line ${LOUD.has(level) ? level : ""}`.trim();
    for (const [part, name] of [[about.join(" · "), "soft"], [level, "level"], [text, "text"]]) {
      if (part === "") continue;
      const span = document.createElement("span");
      span.className = name;
      span.textContent = part;
      row.append(span, " ");
    }
    this.lines.append(row);
    while (this.lines.childElementCount > MOST_LINES) this.lines.firstElementChild.remove();
    if (atEnd) this.lines.scrollTop = this.lines.scrollHeight;
  }
}

customElements.define("berth-console", BerthConsole);
