// A strip of examples, the user's own picture, and the path between two codes.

import { ask, sendPicture } from "./api.js";
import { canvasOf } from "./draw.js";
import { round } from "./state.js";

const STEPS = 9;

export class Examples {
  constructor(page) {
    this.page = page;
    this.strip = document.getElementById("strip");
    this.path = document.getElementById("path");
    this.note = document.getElementById("path-note");
    this.along = document.getElementById("along");
    this.own = document.getElementById("own");
    this.own.onchange = () => this.own.files.length && this.send(this.own.files[0]);
    this.along.oninput = () => this.goTo(Number(this.along.value), false);
    this.along.onchange = () => this.page.commit();
    document.body.addEventListener("dragover", (event) => {
      event.preventDefault();
      document.body.classList.add("dropping");
    });
    for (const name of ["dragleave", "drop"]) document.body.addEventListener(name, () => document.body.classList.remove("dropping"));
    document.body.addEventListener("drop", (event) => {
      event.preventDefault();
      if (event.dataTransfer.files.length) this.send(event.dataTransfer.files[0]);
    });
  }

  build() {
    const { info } = this.page.active;
    document.getElementById("own-controls").hidden = !this.page.uploads || !info.takes_pictures;
    document.getElementById("examples-section").hidden = !info.examples.length && !(this.page.uploads && info.takes_pictures);
    document.getElementById("ends").hidden = !info.examples.length;
    this.thumbs = info.examples.map(({ picture, label }, i) => {
      const button = document.createElement("button");
      button.className = "thumb";
      button.append(canvasOf(picture, label || `example ${i}`));
      if (label) {
        const text = document.createElement("span");
        text.textContent = button.title = label;
        button.append(text);
      }
      button.onclick = (event) => this.choose(i, event.shiftKey);
      return button;
    });
    this.strip.replaceChildren(...this.thumbs);
    this.clear();
  }

  clear() {
    this.ends = null;
    this.chosen = {};
    this.path.replaceChildren();
    this.note.textContent = "";
    document.getElementById("along-label").hidden = true;
    this.mark();
  }

  mark() {
    this.thumbs?.forEach((button, i) => {
      button.classList.toggle("start", this.chosen.start === i);
      button.classList.toggle("end", this.chosen.end === i);
      button.setAttribute("aria-pressed", this.chosen.start === i || this.chosen.end === i);
    });
  }

  // An example as the start of a path, which is shown at once, or as its end.
  async choose(index, shift) {
    const end = shift || document.querySelector("input[name=end]:checked").value === "end";
    if (!end) {
      await this.take(index);
    } else {
      await this.page.attempt(async () => {
        const run = this.page.active;
        const found = await ask("example", run.question({ example: index }));
        this.chosen.end = index;
        await this.between(run.shown, { ...shownOf(found, run), level: run.level });
      }, this.page.active);
    }
    this.mark();
  }

  // Takes the code of an example in every run that has it.
  async take(index) {
    await Promise.all(this.page.runs.map((run) =>
      this.page.attempt(async () => {
        if (index >= run.info.num_examples) return;
        this.adopt(run, await ask("example", run.question({ example: index })), index);
      }, run)));
    this.chosen = { start: index < this.thumbs.length ? index : undefined };
    this.page.changed({ commit: true, condition: true, both: true });
    this.clearPath();
    this.mark();
  }

  clearPath() {
    const { chosen } = this;
    this.clear();
    this.chosen = chosen;
  }

  async send(file) {
    await Promise.all(this.page.runs.map((run) =>
      this.page.attempt(async () => {
        this.adopt(run, await sendPicture(file, run.question(), run.shown.y, document.getElementById("inverted").checked));
        this.page.say(`${file.name} is encoded; move the sliders to edit it`);
      }, run)));
    this.own.value = "";
    this.clear();
    this.page.changed({ commit: true, condition: true, both: true });
  }

  adopt(run, found, index) {
    run.prior = null;
    run.set({ ...shownOf(found, run), index });
  }

  // What a newer checkpoint makes of the example that is shown; a code that was moved since stays.
  async again(run) {
    const { index, original, z } = run.shown;
    if (!original) return;
    const moved = JSON.stringify(z) !== JSON.stringify(codesOf(original));
    run.set({ original: null }); // an own picture is not kept
    if (index === undefined) return;
    const found = await ask("example", run.question({ example: index }));
    run.set(moved ? { original: found } : { z: codesOf(found), original: found });
  }

  // The pictures from one state of the active run to another.
  async between(start, end) {
    const run = this.page.active;
    const level = Math.max(start.level, end.level ?? 0);
    const side = (shown) => ({ z: shown.z.slice(level), y: shown.y });
    this.ends = { run, level, start, end, same: JSON.stringify(start.y) === JSON.stringify(end.y) };
    await this.page.attempt(async () => {
      const { pictures } = await ask("path", run.question({ start: side(start), end: side(end), steps: STEPS }));
      this.path.replaceChildren(...pictures.map((picture, i) => {
        const share = i / (STEPS - 1);
        const button = document.createElement("button");
        button.className = "thumb";
        button.disabled = !this.reachable(share);
        button.append(canvasOf(picture, `${Math.round(100 * share)} % of the path`));
        button.onclick = () => this.goTo(share, true);
        return button;
      }));
      document.getElementById("along-label").hidden = !this.ends.same;
      this.along.value = 0;
      this.note.textContent = this.ends.same ? "" : "The condition moves along with the code; only both ends can be taken.";
    }, run);
  }

  reachable(share) {
    return this.ends.same || share === 0 || share === 1;
  }

  goTo(share, commit) {
    const { run, level, start, end } = this.ends;
    if (run !== this.page.active || !this.reachable(share)) return;
    const z = start.z.map((code, l) => (l < level ? code : code.map((value, i) => round(value + share * (end.z[l][i] - value)))));
    const y = share === 1 ? end.y : start.y;
    if (JSON.stringify(y) !== JSON.stringify(run.shown.y)) run.prior = null;
    run.set({ z, y, level });
    this.page.changed({ commit, condition: true });
  }
}

const codesOf = (found) => found.z.map((code) => code.map(round));

function shownOf(found, run) {
  return { z: codesOf(found), y: found.y ?? run.shown.y, original: found };
}
