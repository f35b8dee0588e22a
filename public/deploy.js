// Sends a project's folder: <berth-deploy> around the form of the page for deploying, which works without this script too.

const MAX_FILES = 5000;
const MAX_BYTES = 32 * 1024 * 1024;
// Nothing of what is deployed; a hidden folder as a whole.
const LEFT_OUT = /(^|\/)(\.[^/]+|node_modules\/\.cache)(\/|$)/;

const size = (bytes) => bytes < 1024 ? `${bytes} B` : bytes < 1024 ** 2 ? `${Math.round(bytes / 1024)} KiB` : `${(bytes / 1024 ** 2).toFixed(1)} MiB`;

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
    const over = (is) => part("drop").toggleAttribute("data-over", is);
    this.addEventListener("dragover", (event) => { event.preventDefault(); over(true); });
    this.addEventListener("dragleave", (event) => { if (!this.contains(event.relatedTarget)) over(false); });
    this.addEventListener("drop", async (event) => {
      event.preventDefault();
      over(false);
      const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry()).filter(Boolean);
      const found = [];
      try {
        for (const entry of entries) await walk(entry, found);
        for (const input of inputs) input.value = "";
        this.choose(found);
      } catch (error) {
        this.refuse("It cannot be read", error.message);
      }
    });
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.send();
    });
  }

  choose(files) {
    this.files = files;
    const bytes = files.reduce((sum, { file }) => sum + file.size, 0);
    this.piece("problem").hidden = true;
    this.piece("result").hidden = true;
    this.piece("chosen").textContent = files.length === 0 ? "Nothing in it can be deployed." : `${files.length} ${files.length === 1 ? "file" : "files"}, ${size(bytes)}`;
    if (files.length > MAX_FILES || bytes > MAX_BYTES) {
      this.refuse("Too much for the page", `At most ${MAX_FILES} files and ${size(MAX_BYTES)}: “berth objects deploy” sends only what is imported.`);
    }
  }

  refuse(title, text) {
    this.piece("problem-title").textContent = title;
    this.piece("problem-text").textContent = text;
    this.piece("problem").hidden = false;
    this.busy(false);
  }

  busy(is) {
    this.piece("send").disabled = is;
    this.piece("progress").hidden = !is;
    this.piece("state").textContent = is ? "Sending …" : "";
  }

  send() {
    if (this.files.length === 0) {
      this.refuse("Nothing is chosen yet", "Drop the project's folder, or choose it.");
      return;
    }
    const body = new FormData();
    body.append("name", this.form.elements.name.value);
    body.append("note", this.form.elements.note.value);
    for (const { path, file } of this.files) body.append("files", file, path);
    this.piece("problem").hidden = true;
    this.piece("result").hidden = true;
    this.busy(true);
    const request = new XMLHttpRequest();
    request.open("POST", this.form.action);
    request.setRequestHeader("Accept", "application/json");
    request.responseType = "text";
    request.upload.addEventListener("progress", ({ loaded, total }) => {
      this.piece("progress").value = total > 0 ? (100 * loaded) / total : 0;
      if (loaded === total) this.piece("state").textContent = "Reading and checking …";
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
    if (status >= 300) {
      this.refuse(said.title, said.detail.replace(/^files: /, ""));
      return;
    }
    this.busy(false);
    const { deployment, version, is_new: isNew, warnings } = said;
    const what = isNew ? `Version ${version.number} of ${deployment.name} is deployed.` : `${deployment.name} runs just this already: version ${version.number}.`;
    this.piece("result-text").textContent = [what, ...warnings.map((warning) => `${warning}.`)].join(" ");
    const link = this.piece("result-link");
    link.href = `/deployments/${deployment.name}`;
    this.piece("result").hidden = false;
    link.focus();
  }
}

customElements.define("berth-deploy", BerthDeploy);
