// Sends a project's folder: <berth-deploy> around the form of the page for deploying, which works without this script too.

const MAX_FILES = 5000;
const MAX_BYTES = 32 * 1024 * 1024;
// Nothing of what is deployed; a hidden folder as a whole.
const LEFT_OUT = /(^|\/)(\.[^/]+|node_modules\/\.cache)(\/|$)/;

/** Fields beside which a refusal is said (app/src/pages/deploy.rs). */
const FIELDS = ["name", "note"];

/** Between two looks at how far hosts are: at first, and when that takes long. */
const LOOK_MS = 300;
const LATER_MS = 5000;
const SOON_MS = 15_000;

const number = (value) => value.toLocaleString("en-GB");
const counted = (count, one, many) => `${number(count)} ${count === 1 ? one : many}`;

/** As the pages write sizes (app/src/components/units.rs). */
function size(bytes) {
  const units = ["B", "KiB", "MiB", "GiB"];
  let [value, unit] = [bytes, 0];
  for (; value >= 1024 && unit + 1 < units.length; unit += 1) value /= 1024;
  return `${value.toFixed(value < 10 && unit > 0 && value % 1 >= 0.05 ? 1 : 0)} ${units[unit]}`;
}

const runningOn = ({ running, hosts }) =>
  running === hosts.length ? `Running on ${counted(hosts.length, "host", "hosts")}` : `Running on ${running} of ${counted(hosts.length, "host", "hosts")}`;

/** How each standing looks (crates/api/src/objects/rollout.rs): its tone, icon and words. */
const STANDINGS = {
  runs: { tone: "good", icon: "busy", words: runningOn },
  starting: { tone: "busy moving", icon: "progress", words: (rollout) => (rollout.problem === null ? `${runningOn(rollout)} …` : `Deployed; ${rollout.problem}`) },
  partly: { tone: "warn", icon: "warning", words: runningOn },
  failed: { tone: "bad", icon: "error", words: () => "No host can run it" },
  nowhere: { tone: "warn", icon: "clock", words: () => "Waits for a host that runs objects" },
};
const STEPS = { runs: ["done", "check"], starting: ["running", "progress"], failed: ["failed", "error"] };

const SVG = "http://www.w3.org/2000/svg";
function icon(name) {
  const [svg, use] = [document.createElementNS(SVG, "svg"), document.createElementNS(SVG, "use")];
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  svg.setAttribute("viewBox", "0 0 16 16");
  use.setAttribute("href", `/icons.svg#${name}`);
  svg.append(use);
  return svg;
}

function element(name, className, text) {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  return made;
}

/** All files below a dropped entry, with their paths. */
async function walk(entry, found) {
  const path = entry.fullPath.replace(/^\//, "");
  if (LEFT_OUT.test(path)) return;
  if (entry.isFile) {
    if (found.length > MAX_FILES) return;
    const file = await new Promise((resolve, reject) => { entry.file(resolve, reject); });
    found.push({ path, file });
    return;
  }
  const reader = entry.createReader();
  // A folder is read in pieces; an empty one is the end.
  for (;;) {
    const piece = await new Promise((resolve, reject) => { reader.readEntries(resolve, reject); });
    if (piece.length === 0 || found.length > MAX_FILES) return;
    for (const next of piece) await walk(next, found);
  }
}

class BerthDeploy extends HTMLElement {
  connectedCallback() {
    const part = (name) => this.querySelector(`[data-${name}]`);
    this.piece = part;
    this.form = this.querySelector("form");
    this.files = [];
    const inputs = [...this.querySelectorAll("input[type=file]")];
    for (const input of inputs) {
      input.addEventListener("change", () => {
        for (const other of inputs) if (other !== input) other.value = "";
        const chosen = [...input.files].map((file) => ({ path: file.webkitRelativePath || file.name, file }));
        this.choose(chosen.filter(({ path }) => !LEFT_OUT.test(path)));
      });
    }
    this.listen();
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.send();
    });
    this.piece("cancel").addEventListener("click", () => this.request?.abort());
    for (const field of FIELDS) this.form.elements[field].addEventListener("input", () => this.beside(field, null));
  }

  disconnectedCallback() {
    this.request?.abort();
    this.stop?.abort();
    this.following = null;
  }

  /** Whoever drags files over the page may let go of them anywhere on it. */
  listen() {
    this.stop = new AbortController();
    const { signal } = this.stop;
    const [drop, title] = [this.piece("drop"), this.piece("drop-title")];
    const asked = title.textContent;
    const over = (is) => {
      drop.toggleAttribute("data-over", is);
      title.textContent = is ? "Let go to choose it" : asked;
    };
    const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
    for (const name of ["dragenter", "dragover"]) {
      document.addEventListener(name, (event) => {
        if (!hasFiles(event)) return;
        event.preventDefault();
        event.dataTransfer.dropEffect = "copy";
        over(true);
      }, { signal });
    }
    document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) over(false); }, { signal });
    document.addEventListener("drop", (event) => {
      if (!hasFiles(event)) return;
      event.preventDefault();
      over(false);
      this.dropped([...event.dataTransfer.items].map((item) => item.webkitGetAsEntry()).filter(Boolean));
    }, { signal });
  }

  async dropped(entries) {
    const found = [];
    this.piece("chosen").textContent = "Looking through it …";
    try {
      for (const entry of entries) await walk(entry, found);
    } catch (error) {
      this.files = [];
      this.piece("chosen").textContent = "or choose it below.";
      this.refuse("It cannot be read", error.message);
      return;
    }
    for (const input of this.form.querySelectorAll("input[type=file]")) input.value = "";
    this.choose(found);
  }

  choose(files) {
    this.files = files;
    const bytes = files.reduce((sum, { file }) => sum + file.size, 0);
    this.following = null;
    this.piece("problem").hidden = true;
    this.piece("result").hidden = true;
    this.piece("chosen").textContent = files.length === 0 ? "Nothing in it can be deployed." : `${files.length > MAX_FILES ? "More than " : ""}${counted(Math.min(files.length, MAX_FILES), "file", "files")}, ${size(bytes)}`;
    this.isTooMuch = files.length > MAX_FILES || bytes > MAX_BYTES;
    if (this.isTooMuch) this.refuseAsTooMuch();
  }

  refuseAsTooMuch() {
    this.refuse("Too much for the page", `At most ${number(MAX_FILES)} files and ${size(MAX_BYTES)}: “berth objects deploy” sends only what is imported.`);
  }

  /** What is wrong with a field, said beside it; nothing with null. */
  beside(field, text) {
    const input = this.form.elements[field];
    const note = this.querySelector(`#${input.id}-error`);
    note.hidden = text === null;
    note.querySelector("span").textContent = text;
    if (text === null) input.removeAttribute("aria-invalid");
    else input.setAttribute("aria-invalid", "true");
  }

  refuse(title, text) {
    this.piece("problem-title").textContent = title;
    this.piece("problem-text").textContent = text;
    this.piece("problem").hidden = false;
    this.busy(false);
  }

  busy(is) {
    const send = this.piece("send");
    send.disabled = is;
    this.cancellable(is);
    // A button that is disabled loses the focus.
    if (!is && document.activeElement === document.body) send.focus();
    this.piece("progress").hidden = !is;
    this.piece("state").textContent = is ? "Sending …" : "";
  }

  /** Once all is sent the server does what it was asked, whoever goes away. */
  cancellable(is) {
    const cancel = this.piece("cancel");
    if (!is && document.activeElement === cancel) this.piece("state").focus();
    cancel.hidden = !is;
  }

  send() {
    if (this.files.length === 0) {
      this.refuse("Nothing is chosen yet", "Drop the project's folder, or choose it.");
      return;
    }
    if (this.isTooMuch) {
      this.refuseAsTooMuch();
      return;
    }
    const body = new FormData();
    body.append("name", this.form.elements.name.value);
    body.append("note", this.form.elements.note.value);
    for (const { path, file } of this.files) body.append("files", file, path);
    this.piece("problem").hidden = true;
    this.piece("result").hidden = true;
    for (const field of FIELDS) this.beside(field, null);
    this.busy(true);
    const request = new XMLHttpRequest();
    this.request = request;
    request.open("POST", this.form.action);
    request.setRequestHeader("Accept", "application/json");
    request.responseType = "text";
    request.upload.addEventListener("progress", ({ loaded, total }) => {
      this.piece("progress").value = total > 0 ? (100 * loaded) / total : 0;
      if (loaded < total) return;
      this.piece("state").textContent = "Reading and checking …";
      this.cancellable(false);
    });
    request.addEventListener("abort", () => {
      this.busy(false);
      this.piece("state").textContent = "Cancelled: nothing was deployed.";
      if (this.isConnected) this.piece("send").focus();
    });
    request.addEventListener("error", () => {
      this.refuse("The server cannot be reached", "Nothing was deployed as far as this page knows. Check your connection, then try again.");
    });
    request.addEventListener("load", () => this.answered(request.status, request.responseText));
    request.send(body);
  }

  answered(status, text) {
    let said;
    try { said = JSON.parse(text); } catch { said = { title: `HTTP ${status}`, detail: "The server may just have been updated: reload the page." }; }
    if (FIELDS.includes(said.field)) {
      this.busy(false);
      this.beside(said.field, said.detail.replace(`${said.field}: `, ""));
      this.form.elements[said.field].focus();
      return;
    }
    if (status >= 300) {
      this.refuse(said.title, said.detail.replace(/^files: /, ""));
      return;
    }
    this.busy(false);
    const { deployment, version, is_new: isNew, warnings } = said;
    this.piece("result-text").textContent = isNew ? `Version ${number(version.number)} of ${deployment.name} is deployed.` : `${deployment.name} runs just this already: version ${number(version.number)}.`;
    const told = this.piece("warnings");
    told.textContent = warnings.map((warning) => `${warning}.`).join(" ");
    told.hidden = warnings.length === 0;
    this.piece("result-link").href = `/deployments/${deployment.name}`;
    this.piece("result-address").href = deployment.address;
    this.piece("result-host").textContent = `Open ${new URL(deployment.address).host}`;
    this.piece("hosts").replaceChildren();
    this.stands("progress", "busy moving", "Starting …");
    this.piece("result").hidden = false;
    this.piece("result-text").focus();
    this.follow(deployment);
  }

  /** Until every host runs it, or has said why it does not. */
  async follow({ id }) {
    const mine = {};
    this.following = mine;
    const begun = Date.now();
    for (;;) {
      try {
        const answer = await fetch(`/api/v1/deployments/${id}/rollout`, { headers: { Accept: "application/json" } });
        if (this.following !== mine) return;
        if (answer.ok) {
          const rollout = await answer.json();
          if (this.following !== mine) return;
          this.show(rollout);
          if (rollout.standing === "runs") return;
        } else if (answer.status < 500) {
          this.stands("warning", "warn", answer.status === 404 ? "It was deleted meanwhile" : "This page may not look any more: reload it");
          return;
        }
      } catch {
        this.stands("offline", "warn", "The server cannot be reached; trying again …");
      }
      await new Promise((next) => { setTimeout(next, Date.now() - begun < SOON_MS ? LOOK_MS : LATER_MS); });
      if (this.following !== mine) return;
    }
  }

  show(rollout) {
    const { tone, icon: name, words } = STANDINGS[rollout.standing];
    this.stands(name, tone, words(rollout));
    const hosts = rollout.hosts.map(({ host, standing, version, problem }) => {
      const [state, sign] = STEPS[standing];
      const row = document.createElement("li");
      row.className = `step ${state}`;
      row.append(icon(sign), element("span", "step-name", host));
      row.append(element("span", "step-time", version === null ? "" : `version ${number(version)}`));
      if (problem !== null) row.append(element("span", "step-detail wrap", problem));
      return row;
    });
    const list = this.piece("hosts");
    list.replaceChildren(...hosts);
    list.hidden = hosts.length === 0;
  }

  stands(name, tone, words) {
    const [place, text] = [this.piece("standing"), this.piece("standing-text")];
    place.className = `status ${tone}`;
    place.querySelector("use").setAttribute("href", `/icons.svg#${name}`);
    // Said anew only where it is news.
    if (text.textContent !== words) text.textContent = words;
  }
}

customElements.define("berth-deploy", BerthDeploy);
