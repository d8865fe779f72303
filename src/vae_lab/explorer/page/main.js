// Brings the parts of the page together: which runs are open, what has changed, and what must be drawn again.

import { ask } from "./api.js";
import { CodeMap } from "./map.js";
import { Condition } from "./condition.js";
import { Examples } from "./examples.js";
import { Panel } from "./panel.js";
import { Samples } from "./samples.js";
import { Sliders } from "./sliders.js";
import { Explored, History } from "./state.js";

const WATCHED_MS = 3000; // from one look at the runs to the next

class Page {
  constructor() {
    this.runs = [];
    this.panels = new Map();
    this.status = document.getElementById("status");
    this.choices = [document.getElementById("run"), document.getElementById("run2")];
    this.gone = ""; // why runs that are shown cannot be asked any more
    this.history = new History(() => this.runs, () => this.showHistory());
    this.sliders = new Sliders(this);
    this.condition = new Condition(this);
    this.map = new CodeMap(this);
    this.examples = new Examples(this);
    this.samples = new Samples(this);
    document.getElementById("undo").onclick = () => this.back("undo");
    document.getElementById("redo").onclick = () => this.back("redo");
    document.getElementById("theme").onclick = () => this.switchTheme();
    document.addEventListener("keydown", (event) => {
      if (!(event.ctrlKey || event.metaKey) || event.target.matches("textarea, input[type=number]")) return;
      const key = event.key.toLowerCase();
      if (key !== "z" && key !== "y") return;
      event.preventDefault();
      this.back(key === "y" || event.shiftKey ? "redo" : "undo");
    });
  }

  async begin() {
    await this.attempt(async () => {
      const { runs, first, uploads } = await ask("runs");
      this.uploads = uploads;
      this.empty = !runs.length;
      this.choices[1].replaceChildren(new Option("no other", ""));
      this.list(runs);
      document.getElementById("run-label").hidden = document.getElementById("run2-label").hidden = first.length > 0;
      for (const select of this.choices) {
        select.onfocus = () => this.attempt(async () => this.list((await ask("runs")).runs));
        select.onchange = () => this.open(this.choices.map(({ value }) => value).filter(Boolean));
      }
      if (this.empty) this.say("There is no run with weights here yet.", true);
      else await this.open(first.length ? first : [runs[0]]);
    });
  }

  // Adds the runs that are new to both lists, and takes out those that are gone, without moving the choice.
  list(runs) {
    for (const select of this.choices) {
      const shown = new Set([...select.options].map(({ value }) => value));
      select.append(...runs.filter((name) => !shown.has(name)).map((name) => new Option(name)));
      for (const option of [...select.options]) if (option.value && !option.selected && !runs.includes(option.value)) option.remove();
    }
  }

  async open(names) {
    this.say(`opening ${names.join(" and ")} …`);
    await this.attempt(async () => {
      const infos = [];
      for (const name of names) infos.push(await ask("open", { run: name }));
      this.runs = infos.map((info, i) => new Explored(names[i], info));
      this.active = this.runs[0];
      const box = document.getElementById("panels");
      this.panels = new Map(this.runs.map((run) => [run, new Panel(run, this)]));
      box.replaceChildren(...[...this.panels.values()].map((panel) => panel.element));
      box.classList.toggle("two", this.runs.length > 1);
      document.querySelector("main").hidden = false;
      document.title = `${names.join(", ")} · Explore · vae_lab`;
      this.say("");
      this.activate(this.active);
      if (this.active.info.num_examples) await this.examples.take(0);
      else this.changed({ both: true });
      this.history.restart();
      this.samples.build();
    });
  }

  // The run that sliders, condition and map act on.
  activate(run) {
    this.active = run;
    for (const [each, panel] of this.panels) {
      panel.element.classList.toggle("active", each === run);
      panel.act.hidden = this.runs.length < 2;
      panel.act.disabled = each === run;
    }
    this.sliders.build();
    this.condition.build();
    this.examples.build();
    this.map.load();
  }

  // Draws what a change of the active run, or of both, touches.
  changed({ commit = false, condition = false, both = false, rebuilt = false } = {}) {
    for (const run of both ? this.runs : [this.active]) this.panels.get(run).refresh();
    const level = document.getElementById("level");
    if (rebuilt || Number(level.value) !== this.active.level) {
      this.sliders.build();
      this.map.load();
    } else {
      this.sliders.refresh();
      this.map.draw();
    }
    if (condition) {
      if (!document.activeElement?.closest?.("#condition")) this.condition.build();
      this.samples.temperatures && this.samples.refresh();
    }
    if (commit) this.commit();
  }

  decoded(run) {
    if (run === this.active) this.sliders.refresh();
  }

  commit() {
    this.history.commit();
  }

  back(way) {
    this.history[way]();
    for (const run of this.runs) run.prior = null;
    this.condition.build();
    this.changed({ condition: true, both: true });
  }

  showHistory() {
    document.getElementById("undo").disabled = !this.history.past.length;
    document.getElementById("redo").disabled = !this.history.future.length;
  }

  say(text, bad = false) {
    this.status.textContent = text;
    this.status.classList.toggle("bad", bad);
  }

  // Does something that asks the server, and shows in one line why it could not be done.
  async attempt(action, run = null) {
    try {
      await action();
      if (this.status.classList.contains("bad")) this.say("");
    } catch (error) {
      if (error.status === 409 && run && error.message.includes("newer checkpoint")) await this.reload(run);
      else this.say(error.message, true);
    }
  }

  // Looks, while the page is seen and nothing is dragged, for newer checkpoints, and for runs that are gone or back again.
  async watch() {
    if (document.hidden || this.watching || document.querySelector("input:active, select:active, canvas:active")) return;
    if (!this.runs.length) return this.empty && this.begin();
    this.watching = true;
    let gone = "";
    try {
      const { runs } = await ask("status", { runs: this.runs.map((run) => run.name) });
      for (const run of this.runs) {
        const found = runs[run.name];
        if (found?.gone) gone ||= found.gone;
        else if (found && found.stamp !== run.info.stamp) await this.reload(run);
      }
    } catch (error) {
      gone = error.message;
    } finally {
      this.watching = false;
    }
    if (gone) this.say(gone, true);
    else if (this.gone && this.status.textContent === this.gone) this.say("");
    this.gone = gone;
  }

  // Takes over a newer checkpoint of a run that still trains.
  async reload(run) {
    await this.attempt(async () => {
      run.adopt(await ask("open", { run: run.name }));
      this.panels.get(run).describe();
      this.say(`${run.name}: a newer checkpoint is shown now`);
      await this.examples.again(run);
      if (run === this.active) this.activate(run);
      this.panels.get(run).refresh();
      this.samples.refresh();
      this.history.restart(); // earlier states have codes of the weights before
    });
  }

  async showCommand(command) {
    const text = document.getElementById("command-text");
    text.value = command;
    let copied = true;
    await navigator.clipboard.writeText(command).catch(() => (copied = false));
    const file = command.includes("z=codes.json") ? " Save the codes first: the command reads codes.json." : "";
    document.getElementById("command-note").textContent = `${copied ? "Copied." : "Copy it from here."}${file}`;
    document.getElementById("command").showModal();
    text.select();
  }

  switchTheme() {
    const root = document.documentElement;
    const dark = getComputedStyle(root).colorScheme === "dark";
    root.dataset.theme = dark ? "light" : "dark";
    this.map.draw();
    for (const panel of this.panels.values()) panel.refresh();
  }
}

const page = new Page();
window.explorer = page; // for the tests
page.begin();
setInterval(() => page.watch(), WATCHED_MS);
document.addEventListener("visibilitychange", () => page.watch());
