// What is shown of each run, and the way back: every change makes new objects, so that an earlier state stays whole.

export const round = (value) => Number(value.toPrecision(6)); // as the copied command writes it

export class Explored {
  constructor(name, info) {
    this.name = name;
    this.adopt(info);
    this.shown = { z: info.start.map((code) => code.map(round)), level: 0, y: info.y, original: null };
  }

  // Takes over what a newly read checkpoint says, and keeps the codes where they still fit.
  adopt(info) {
    const fits = this.info && JSON.stringify(this.info.levels.map((l) => l.shape)) === JSON.stringify(info.levels.map((l) => l.shape));
    this.info = info;
    this.prior = null; // mean and deviation of the level that moves
    if (!fits && this.shown) this.shown = { z: info.start.map((code) => code.map(round)), level: 0, y: info.y, original: null };
  }

  get level() {
    return this.shown.level;
  }

  // The codes that decide the picture: those of the moving level and of the levels above it.
  get given() {
    return this.shown.z.slice(this.shown.level);
  }

  set(change) {
    this.shown = { ...this.shown, ...change };
  }

  setCode(code) {
    const z = [...this.shown.z];
    z[this.shown.level] = code.map(round);
    this.set({ z });
  }

  question(more = {}) {
    return { run: this.name, stamp: this.info.stamp, ...more };
  }
}

export class History {
  constructor(runs, changed) {
    this.runs = runs;
    this.changed = changed;
    this.past = [];
    this.future = [];
    this.now = this.snapshot();
  }

  snapshot() {
    return this.runs().map((run) => run.shown);
  }

  // Called after each finished change.
  commit() {
    const next = this.snapshot();
    if (next.length === this.now.length && next.every((shown, i) => shown === this.now[i])) return;
    this.past.push(this.now);
    this.future = [];
    this.now = next;
    if (this.past.length > 200) this.past.shift();
    this.changed();
  }

  restart() {
    this.past = [];
    this.future = [];
    this.now = this.snapshot();
    this.changed();
  }

  undo() {
    this.step(this.past, this.future);
  }

  redo() {
    this.step(this.future, this.past);
  }

  step(from, to) {
    if (!from.length) return;
    to.push(this.now);
    this.now = from.pop();
    this.runs().forEach((run, i) => {
      if (run.shown.level !== this.now[i].level) run.prior = null;
      run.shown = this.now[i];
    });
    this.changed();
  }
}
