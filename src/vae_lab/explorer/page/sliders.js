// A slider for each dimension of the level that moves, most nats first, in standard deviations of the prior.

const FEW = 12;
const MOST = 400;
const REACH = 4;

export class Sliders {
  constructor(page) {
    this.page = page;
    this.box = document.getElementById("sliders");
    this.level = document.getElementById("level");
    this.follows = document.getElementById("follows");
    this.more = document.getElementById("all-dimensions");
    this.all = false;
    this.level.onchange = () => {
      page.active.set({ level: Number(this.level.value) });
      page.active.prior = null;
      page.changed({ commit: true, rebuilt: true });
    };
    this.more.onclick = () => {
      this.all = !this.all;
      this.build();
    };
    document.getElementById("to-mean").onclick = () => {
      const { prior } = page.active;
      if (!prior) return;
      page.active.setCode(prior.mean);
      page.changed({ commit: true });
    };
  }

  build() {
    const { info, level } = this.page.active;
    const levels = info.levels.length;
    document.getElementById("level-label").hidden = levels === 1;
    this.level.replaceChildren(...info.levels.map(({ shape }, i) => {
      const place = i === 0 ? ", nearest the data" : i === levels - 1 ? ", the top" : "";
      return new Option(`${i + 1}${place} (${shape.join(" × ")})`, i);
    }));
    this.level.value = level;
    this.follows.textContent = followsText(info, level) + unitText(info.levels[level]);
    document.getElementById("to-mean").hidden = !info.movable;
    const { nats, shape } = info.levels[level];
    const size = shape.reduce((a, b) => a * b, 1);
    this.order = [...Array(size).keys()];
    if (nats) this.order.sort((a, b) => nats[b] - nats[a]);
    this.more.hidden = size <= FEW || !info.movable;
    this.more.textContent = this.all ? "Fewer" : `All ${Math.min(size, MOST)} dimensions`;
    const rows = info.movable ? this.order.slice(0, this.all ? MOST : FEW) : [];
    this.rows = rows.map((dimension) => this.row(dimension, nats?.[dimension]));
    this.box.replaceChildren(...this.rows.map((row) => row.element));
    this.refresh();
  }

  row(dimension, nats) {
    const element = document.createElement("label");
    element.className = "slider";
    const name = document.createElement("span");
    name.textContent = `z[${dimension}]`;
    const input = document.createElement("input");
    Object.assign(input, { type: "range", min: -REACH, max: REACH, step: 0.05 });
    input.setAttribute("aria-label", `z[${dimension}], in standard deviations of the prior`);
    const output = document.createElement("output");
    const carried = document.createElement("span");
    carried.className = "nats";
    input.oninput = () => this.move(dimension, Number(input.value));
    input.onchange = () => this.page.commit();
    element.append(name, input, output, carried);
    return { element, dimension, input, output, carried, text: nats === undefined ? "" : nats.toFixed(2) };
  }

  move(dimension, sigmas) {
    const { active } = this.page;
    if (!active.prior) return;
    const code = [...active.shown.z[active.level]];
    code[dimension] = active.prior.mean[dimension] + sigmas * active.prior.std[dimension];
    active.setCode(code);
    this.page.changed();
  }

  // Shows the code as it is now.
  refresh() {
    const { active } = this.page;
    const { prior, level } = active;
    const ready = prior && prior.level === level;
    const mine = active.shown.original?.kl_by_dimension?.[level];
    for (const { dimension, input, output, carried, text } of this.rows) {
      input.disabled = !ready;
      carried.textContent = mine ? `${text} (${mine[dimension].toFixed(2)})` : text;
      carried.title = mine ? "mean of the examples (of this original)" : "mean of the examples";
      if (!ready) continue;
      const sigmas = (active.shown.z[level][dimension] - prior.mean[dimension]) / prior.std[dimension];
      if (document.activeElement !== input || Math.abs(Number(input.value) - sigmas) > 0.03) input.value = sigmas;
      output.textContent = `${sigmas >= 0 ? "+" : "−"}${Math.abs(sigmas).toFixed(2)} σ`;
      input.setAttribute("aria-valuetext", output.textContent);
    }
  }
}

function unitText({ nats, unit }) {
  const carried = unit === "var" ? "the variance of its posterior means" : "its KL in nats, the mean of the examples (of this original)";
  return `Each slider in standard deviations of the prior (σ)${nats ? `; beside it ${carried}` : ""}.`;
}

function followsText(info, level) {
  if (!info.movable) return "The codes of this model are numbers of a codebook's entries: they have no sliders. ";
  const levels = info.levels.length;
  if (levels === 1) return "";
  const below = level === 0 ? "" : level === 1 ? "Level 1 follows the prior's mean. " : `Levels 1 to ${level} follow the prior's means. `;
  const above = level === levels - 1 ? "" : level === levels - 2 ? `Level ${levels} keeps its code.` : `Levels ${level + 2} to ${levels} keep their codes.`;
  return `${below}${above} `;
}
