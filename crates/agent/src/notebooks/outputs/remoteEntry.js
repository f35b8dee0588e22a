// Shows in a notebook's page what its cells put out while no page was open, and saves a notebook when a cell of it is run.
// Written as JupyterLab loads it (a container of module federation), so that nothing has to be built.
(() => {
  "use strict";
  const AGAIN_MS = 500;
  const SAVE_EVERY_MS = 2000;
  let shared;

  /** A module that JupyterLab shares. */
  async function take(name) {
    const versions = Object.values(shared[name]);
    const loaded = versions.find((version) => version.loaded) ?? versions[0];
    return (await loaded.get())();
  }

  const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

  /** Shows a run's outputs; adds only what is new where that is enough, so that nothing flickers. */
  function show(model, outputs, before) {
    const same = before.findIndex((output, at) => JSON.stringify(output) !== JSON.stringify(outputs[at]));
    const [last, now] = [before.at(-1), outputs[before.length - 1]];
    const goesOn = same === before.length - 1 && same >= 0 && last.output_type === "stream"
      && now?.output_type === "stream" && now.name === last.name && now.text.startsWith(last.text);
    if (before.length > 0 && (same === -1 || goesOn)) {
      if (goesOn) model.outputs.add({ ...now, text: now.text.slice(last.text.length) });
      outputs.slice(before.length).forEach((output) => model.outputs.add(output));
    } else {
      model.outputs.fromJSON(outputs);
    }
  }

  class Follower {
    constructor(panel, { makeRequest, settings }) {
      this.panel = panel;
      this.shown = new Map();
      this.ownCells = new Set();
      this.ask = (kernel, query, init) =>
        makeRequest(`${settings.baseUrl}api/berth/outputs/${kernel}${query}`, init, settings);
    }

    /** Until all runs that began before this page are over. */
    async follow() {
      const { context, sessionContext } = this.panel;
      await Promise.all([context.ready, sessionContext.ready]);
      const kernel = sessionContext.session?.kernel?.id;
      let [version, runs] = ["", []];
      do {
        if (version !== "") await wait(AGAIN_MS);
        if (this.panel.isDisposed || !kernel) return;
        const answer = await this.ask(kernel, `?known=${version}`, {});
        if (!answer.ok) return;
        ({ version, runs } = await answer.json());
        this.apply(runs);
      } while (runs.some((run) => !run.over));
      if (runs.length > 0 && context.contentsModel?.writable) {
        await context.save();
        await this.ask(kernel, "", { method: "DELETE", body: JSON.stringify({ runs: runs.map(({ run }) => run) }) });
      }
    }

    apply(runs) {
      const cells = new Map(runs.map((run) => [run.cell, run]));
      for (const model of this.panel.content.model?.cells ?? []) {
        const run = model.type === "code" ? cells.get(model.id) : undefined;
        const before = this.shown.get(run?.run);
        if (!run || this.ownCells.has(model.id) || before?.version === run.version) continue;
        model.trusted = true;
        show(model, run.outputs, before?.outputs ?? []);
        model.executionState = run.over ? "idle" : "running";
        if (run.over) model.executionCount = run.execution_count;
        this.shown.set(run.run, run);
      }
    }
  }

  /** Saves a notebook as it is when a cell is run: what was run is there for whoever comes back. */
  class Saver {
    constructor({ context, sessionContext }) {
      this.context = context;
      this.sessionContext = sessionContext;
      this.isDue = false;
    }
    /** Whether a save would go well: one that does not puts a dialog in the way. */
    can() {
      const { context, sessionContext } = this;
      const isConnected = sessionContext.session?.kernel?.connectionStatus === "connected";
      return !context.isDisposed && context.isReady && context.contentsModel?.writable && isConnected;
    }
    async save() {
      if (this.isDue) return;
      this.isDue = true;
      await wait(this.isLate ? SAVE_EVERY_MS : 0);
      [this.isDue, this.isLate] = [false, true];
      if (this.can() && this.context.model.dirty) await this.context.save();
      await wait(SAVE_EVERY_MS);
      this.isLate = this.isDue;
    }
  }

  async function plugin() {
    const { INotebookTracker, NotebookActions } = await take("@jupyterlab/notebook");
    const { ServerConnection } = await take("@jupyterlab/services");
    return {
      id: "@berth/outputs:plugin",
      description: "Shows what cells put out while no page was open, and saves notebooks when they are run.",
      autoStart: true,
      requires: [INotebookTracker],
      activate(app, tracker) {
        const settings = app.serviceManager.serverSettings;
        const panels = new Map();
        const add = (panel) => {
          const known = {
            follower: new Follower(panel, { makeRequest: ServerConnection.makeRequest, settings }),
            saver: new Saver(panel),
          };
          panels.set(panel.content, known);
          panel.disposed.connect(() => panels.delete(panel.content));
          known.follower.follow().catch((error) => console.warn("what cells put out meanwhile cannot be shown:", error));
        };
        tracker.forEach(add);
        tracker.widgetAdded.connect((_, panel) => add(panel));
        NotebookActions.executionScheduled.connect((_, { notebook, cell }) => {
          const known = panels.get(notebook);
          if (!known) return;
          known.follower.ownCells.add(cell.model.id);
          known.saver.save().catch((error) => console.warn("the notebook cannot be saved:", error));
        });
      },
    };
  }

  window._JUPYTERLAB ??= {};
  window._JUPYTERLAB["@berth/outputs"] = {
    init: (scope) => { shared = scope; },
    get: async () => {
      const made = await plugin();
      return () => ({ __esModule: true, default: made });
    },
  };
})();
