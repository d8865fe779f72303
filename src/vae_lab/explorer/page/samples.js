// Samples of each run with the same seed, a temperature for each level, and the condition that is chosen.

import { ask } from "./api.js";
import { canvasOf } from "./draw.js";
import { round } from "./state.js";

const MOST_SLIDERS = 12;

export class Samples {
  constructor(page) {
    this.page = page;
    this.num = document.getElementById("num");
    this.seed = document.getElementById("seed");
    this.box = document.getElementById("temperatures");
    this.grids = document.getElementById("grids");
    for (const input of [this.num, this.seed]) input.onchange = () => this.refresh();
    document.getElementById("new-seed").onclick = () => {
      this.seed.value = (Number(this.seed.value) + 1) % 2 ** 32;
      this.refresh();
    };
    document.getElementById("copy-samples").onclick = () =>
      page.attempt(async () => page.showCommand((await this.asked(page.active)).command), page.active);
  }

  build() {
    const levels = Math.max(...this.page.runs.map((run) => run.info.levels.length));
    const each = levels <= MOST_SLIDERS;
    this.temperatures = Array(levels).fill(1);
    this.box.replaceChildren(...[...Array(each ? levels : 1).keys()].map((level) => this.row(level, each && levels > 1)));
    this.refresh();
  }

  row(level, named) {
    const label = document.createElement("label");
    label.className = "temperature";
    const [input, output] = [document.createElement("input"), document.createElement("output")];
    Object.assign(input, { type: "range", min: 0, max: 1.5, step: 0.05, value: 1 });
    const name = named ? `Temperature of level ${level + 1}` : "Temperature";
    input.setAttribute("aria-label", name);
    output.textContent = "1.00";
    input.oninput = () => {
      output.textContent = Number(input.value).toFixed(2);
      if (named) this.temperatures[level] = Number(input.value);
      else this.temperatures.fill(Number(input.value));
      this.refresh();
    };
    label.append(name, input, output);
    return label;
  }

  asked(run, more = {}) {
    const temperature = this.temperatures.slice(0, run.info.levels.length);
    const [num, seed] = [this.num.valueAsNumber, this.seed.valueAsNumber];
    return ask("samples", run.question({ num, seed, temperature, y: run.shown.y, ...more }));
  }

  // While an answer is awaited, only the newest request is kept.
  async refresh() {
    if (this.busy) {
      this.again = true;
      return;
    }
    this.busy = true;
    do {
      this.again = false;
      const grids = await Promise.all(this.page.runs.map((run) => this.grid(run)));
      if (grids.every(Boolean)) this.grids.replaceChildren(...grids);
    } while (this.again);
    this.busy = false;
  }

  async grid(run) {
    const grid = document.createElement("div");
    grid.className = "grid";
    const { stamp } = run.info;
    await this.page.attempt(async () => {
      const { pictures } = await this.asked(run);
      grid.append(...pictures.map((picture, i) => {
        const button = document.createElement("button");
        button.className = "thumb";
        button.append(canvasOf(picture, `sample ${i + 1}`));
        button.disabled = !run.info.movable;
        button.onclick = () => this.take(run, i, stamp);
        return button;
      }));
    }, run);
    if (this.page.runs.length > 1) {
      const title = document.createElement("h3");
      title.textContent = run.name;
      grid.prepend(title);
    }
    return grid;
  }

  async take(run, index, stamp) {
    await this.page.attempt(async () => {
      const { z } = await this.asked(run, { take: index, stamp });
      run.prior = null;
      run.set({ z: z.map((code) => code.map(round)), original: null });
      this.page.activate(run);
      this.page.changed({ commit: true });
    }, run);
  }
}
