// The codes of many examples in a plane, coloured by class, and the code that is shown now among them.

import { ask } from "./api.js";

const HEIGHT = 0.8; // of the canvas, relative to its width
const COLOURS = ["#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf"];
const colourOf = (label, num) => (num <= 10 ? COLOURS[label] : `hsl(${(360 * label) / num} 65% 52%)`);

export class CodeMap {
  constructor(page) {
    this.page = page;
    this.section = document.getElementById("map-section");
    this.canvas = document.getElementById("map");
    this.view = document.getElementById("view");
    this.found = null;
    this.view.onchange = () => this.load();
    this.canvas.onpointerdown = (event) => this.press(event);
    this.canvas.onpointermove = (event) => this.drag(event);
    this.canvas.onpointerup = (event) => this.release(event);
    this.canvas.onpointercancel = () => (this.start = null);
    this.canvas.onkeydown = (event) => this.key(event);
    new ResizeObserver(() => this.draw()).observe(this.canvas);
  }

  async load() {
    const run = this.page.active;
    const { info, level } = run;
    this.section.hidden = !info.num_examples || !info.movable;
    this.found = null;
    if (this.section.hidden) return;
    const size = info.levels[level].shape.reduce((a, b) => a * b, 1);
    const views = size <= 2 ? [["pca", "the plane itself"]] : [["pca", "principal components"], ["kl", `the two dimensions with most ${info.levels[level].unit === "var" ? "variance" : "KL"}`]];
    const chosen = views.some(([name]) => name === this.view.value) ? this.view.value : "pca";
    this.view.replaceChildren(...views.map(([name, text]) => new Option(text, name)));
    this.view.value = chosen;
    await this.page.attempt(async () => {
      const found = await ask("map", run.question({ level, view: chosen }));
      if (run !== this.page.active || level !== run.level) return;
      this.found = found;
      const [across, up] = this.found.points.length ? [0, 1].map((axis) => this.found.points.map((p) => p[axis])) : [[0], [0]];
      // One unit is as long across as up; the canvas is less high than wide.
      const [wide, high] = [across, up].map((values) => Math.max(...values.map(Math.abs), 1e-6) * 1.08);
      const reach = Math.max(wide, high / HEIGHT);
      this.bounds = [[-reach, reach], [-reach * HEIGHT, reach * HEIGHT]];
      document.getElementById("map-axes").textContent = `Across: ${found.titles[0]}. Up: ${found.titles[1]}.`;
      this.legend();
      this.draw();
    }, run);
  }

  legend() {
    const { names } = this.found;
    document.getElementById("legend").replaceChildren(...names.slice(0, 60).map((name, i) => {
      const item = document.createElement("span");
      const swatch = document.createElement("span");
      swatch.className = "swatch";
      swatch.style.background = colourOf(i, names.length);
      item.append(swatch, name);
      return item;
    }));
  }

  place(point) {
    const { width, height } = this.canvas;
    const [[left, right], [low, high]] = this.bounds;
    return [((point[0] - left) / (right - left)) * width, height - ((point[1] - low) / (high - low)) * height];
  }

  pointAt(event) {
    const box = this.canvas.getBoundingClientRect();
    const [[left, right], [low, high]] = this.bounds;
    const share = [(event.clientX - box.left) / box.width, 1 - (event.clientY - box.top) / box.height];
    return [left + share[0] * (right - left), low + share[1] * (high - low)];
  }

  // Where a code stands in the plane.
  projected(code) {
    const { center, axes } = this.found;
    return axes.map((axis) => axis.reduce((sum, value, i) => sum + value * (code[i] - center[i]), 0));
  }

  draw() {
    const { canvas, found } = this;
    if (!found || !canvas.clientWidth) return;
    const scale = window.devicePixelRatio || 1;
    canvas.width = canvas.clientWidth * scale;
    canvas.height = canvas.clientWidth * HEIGHT * scale;
    const pen = canvas.getContext("2d");
    const style = getComputedStyle(document.documentElement);
    pen.strokeStyle = style.getPropertyValue("--line");
    const [x0, y0] = this.place([0, 0]);
    pen.strokeRect(x0, 0, 0, canvas.height);
    pen.strokeRect(0, y0, canvas.width, 0);
    pen.globalAlpha = 0.75;
    found.points.forEach((point, i) => {
      pen.fillStyle = found.labels.length ? colourOf(found.labels[i], found.names.length) : COLOURS[0];
      pen.beginPath();
      pen.arc(...this.place(point), 2.6 * scale, 0, 7);
      pen.fill();
    });
    pen.globalAlpha = 1;
    pen.lineWidth = 2 * scale;
    pen.strokeStyle = pen.fillStyle = style.getPropertyValue("--ink");
    const here = this.place(this.projected(this.page.active.shown.z[this.page.active.level]));
    if (this.start) {
      pen.beginPath();
      pen.moveTo(...this.place(this.start.point));
      pen.lineTo(...here);
      pen.stroke();
    }
    pen.beginPath();
    pen.arc(...here, 7 * scale, 0, 7);
    pen.stroke();
  }

  moveTo(point, finished) {
    const run = this.page.active;
    const code = run.shown.z[run.level];
    const here = this.projected(code);
    const { axes } = this.found;
    const step = [point[0] - here[0], point[1] - here[1]];
    run.setCode(code.map((value, i) => value + step[0] * axes[0][i] + step[1] * axes[1][i]));
    this.page.changed({ commit: finished });
  }

  nearest(point) {
    const distances = this.found.points.map((p) => (p[0] - point[0]) ** 2 + (p[1] - point[1]) ** 2);
    return distances.indexOf(Math.min(...distances));
  }

  press(event) {
    if (!this.found || event.button) return;
    const point = this.pointAt(event);
    if (event.shiftKey) {
      this.page.examples.take(this.nearest(point));
      return;
    }
    this.canvas.setPointerCapture(event.pointerId);
    this.moveTo(point, false);
    this.start = { point, end: this.page.active.shown };
  }

  drag(event) {
    if (this.start) this.moveTo(this.pointAt(event), false);
  }

  release(event) {
    if (!this.start) return;
    const { point, end } = this.start;
    const last = this.pointAt(event);
    this.start = null;
    this.moveTo(last, true);
    const [a, b] = [this.place(point), this.place(last)];
    if (Math.hypot(a[0] - b[0], a[1] - b[1]) > 8) this.page.examples.between(end, this.page.active.shown);
  }

  key(event) {
    if (!this.found) return;
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
    const here = this.projected(this.page.active.shown.z[this.page.active.level]);
    if (steps[event.key]) {
      const size = (this.bounds[0][1] - this.bounds[0][0]) / 40;
      this.moveTo([here[0] + size * steps[event.key][0], here[1] + size * steps[event.key][1]], true);
    } else if (event.key === "Enter") {
      this.page.examples.take(this.nearest(here));
    } else return;
    event.preventDefault();
  }
}
