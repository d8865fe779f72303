// One run's picture, beside the example that its code came from, with what that example costs in nats.

import { ask } from "./api.js";
import { canvasOf, draw, saveFile, savePng } from "./draw.js";

const nats = (value) => value.toFixed(2);

export class Panel {
  constructor(run, page) {
    this.run = run;
    this.page = page;
    this.busy = this.again = false;
    this.element = document.createElement("article");
    this.element.className = "panel";
    this.element.innerHTML = `
      <h3></h3><p class="quiet about"></p>
      <div class="figures"><figure><canvas role="img" aria-label="decoded picture"></canvas><figcaption></figcaption></figure>
      <div class="figures beside"></div></div>
      <p class="measures"></p>
      <div class="buttons"><button class="act">Move this one</button><button class="png">Save as PNG</button>
      <button class="copy">Copy as command</button><button class="codes">Save codes</button></div>`;
    const find = (what) => this.element.querySelector(what);
    this.canvas = find("canvas");
    this.caption = find("figcaption");
    this.beside = find(".beside");
    this.measures = find(".measures");
    this.act = find(".act");
    find("h3").textContent = run.name;
    this.about = find(".about");
    for (const name of [".copy", ".codes"]) find(name).hidden = !run.info.movable;
    this.act.onclick = () => page.activate(run);
    find(".png").onclick = () => savePng(this.canvas, `${run.name.replace(/\W+/g, "_")}.png`);
    find(".codes").onclick = () => saveFile(new Blob([JSON.stringify(run.given)], { type: "application/json" }), "codes.json");
    find(".copy").onclick = () =>
      page.attempt(async () => page.showCommand((await ask("command", this.question())).command), run);
    this.describe();
  }

  describe() {
    const { title, elbo, problem } = this.run.info;
    this.about.textContent = [title, elbo === null ? "" : `test ELBO ${nats(elbo)} nats per example`, problem && `no examples: ${problem}`]
      .filter(Boolean).join(" · ");
  }

  question() {
    return this.run.question({ z: this.run.given, y: this.run.shown.y });
  }

  // Decodes what is shown now; while an answer is awaited, only the newest request is kept.
  async refresh() {
    if (this.busy) {
      this.again = true;
      return;
    }
    this.busy = true;
    do {
      this.again = false;
      const { level, y } = this.run.shown;
      const began = performance.now();
      await this.page.attempt(async () => {
        const found = await ask("decode", this.question());
        if (level === this.run.level) this.run.prior = { level, mean: found.mean, std: found.std };
        draw(this.canvas, found.picture);
        const took = performance.now() - began;
        this.element.dataset.latency = took.toFixed(1);
        this.caption.textContent = [this.titleOf(y), found.picture.note, `${took.toFixed(0)} ms`].filter(Boolean).join(" · ");
        this.page.decoded(this.run);
      }, this.run);
    } while (this.again);
    this.busy = false;
    this.showOriginal();
  }

  titleOf(y) {
    const classes = this.run.info.condition?.classes ?? [];
    if (y === null || !classes.length) return "decoded";
    return `decoded as ${classes[Array.isArray(y) ? y.indexOf(1) : y]}`;
  }

  showOriginal() {
    const { original } = this.run.shown;
    this.beside.replaceChildren();
    this.measures.textContent = "";
    if (!original) return;
    for (const [name, picture] of [["original", original.original], ["as the model sees it", original.seen]]) {
      if (!picture) continue;
      const figure = document.createElement("figure");
      const caption = document.createElement("figcaption");
      caption.textContent = [name, name === "original" && original.label].filter(Boolean).join(": ");
      figure.append(canvasOf(picture, name, false), caption);
      this.beside.append(figure);
    }
    const total = original.kl.reduce((sum, value) => sum + value, 0);
    const levels = original.kl.length > 1 ? ` (${original.kl.map((value, i) => `level ${i + 1}: ${nats(value)}`).slice(0, 8).join(", ")})` : "";
    this.measures.textContent = `Of the original: ELBO ${nats(original.elbo)}, log-likelihood ${nats(original.log_likelihood)}, KL ${nats(total)}${levels} nats.`;
  }
}
