// The condition by name: one class, attributes that are present, numbers in their own units.

export class Condition {
  constructor(page) {
    this.page = page;
    this.box = document.getElementById("condition");
  }

  build() {
    const { condition } = this.page.active.info;
    this.box.hidden = !condition;
    [...this.box.children].slice(1).forEach((child) => child.remove());
    if (!condition) return;
    const first = condition.classes.length;
    if (first) this.box.append(this.classes(condition.classes));
    if (condition.attributes.length) this.box.append(this.attributes(condition.attributes, first));
    condition.numbers.forEach((number, i) => this.box.append(this.number(number, first + condition.attributes.length + i)));
  }

  classes(names) {
    const label = document.createElement("label");
    const select = document.createElement("select");
    select.id = "class";
    select.append(...names.map((name, i) => new Option(name, i)));
    const { y } = this.page.active.shown;
    select.value = Array.isArray(y) ? y.slice(0, names.length).indexOf(1) : y;
    select.onchange = () => {
      const chosen = Number(select.value);
      this.change((old) => (Array.isArray(old) ? old.map((v, i) => (i < names.length ? Number(i === chosen) : v)) : chosen), true);
    };
    label.append("Class ", select);
    return label;
  }

  attributes(names, first) {
    const box = document.createElement("div");
    box.className = "attributes";
    names.forEach((name, i) => {
      const label = document.createElement("label");
      const input = document.createElement("input");
      input.type = "checkbox";
      input.checked = this.page.active.shown.y[first + i] === 1;
      input.onchange = () => this.change((old) => withValue(old, first + i, Number(input.checked)), true);
      label.append(input, ` ${name}`);
      box.append(label);
    });
    return box;
  }

  number({ name, low, high }, column) {
    const row = document.createElement("label");
    row.className = "number-row";
    const [slider, field] = [document.createElement("input"), document.createElement("input")];
    Object.assign(slider, { type: "range", min: low, max: high, step: (high - low) / 200 || 1 });
    Object.assign(field, { type: "number", step: "any" });
    field.setAttribute("aria-label", `${name}, exactly`);
    slider.setAttribute("aria-label", `${name}, from ${low} to ${high} in training`);
    slider.value = field.value = this.page.active.shown.y[column];
    const set = (value, commit) => Number.isFinite(value) && this.change((old) => withValue(old, column, value), commit);
    slider.oninput = () => {
      field.value = Number(Number(slider.value).toPrecision(4));
      set(Number(field.value), false);
    };
    slider.onchange = () => this.page.commit();
    field.onchange = () => {
      slider.value = field.value;
      set(field.valueAsNumber, true);
    };
    row.append(name, slider, field);
    return row;
  }

  // The other run follows if it has the same condition.
  change(next, commit) {
    const { active } = this.page;
    const same = JSON.stringify(active.info.condition);
    for (const run of this.page.runs) {
      if (JSON.stringify(run.info.condition) !== same) continue;
      run.prior = null;
      run.set({ y: next(run.shown.y) });
    }
    this.page.changed({ commit, condition: true, both: true });
  }
}

function withValue(values, column, value) {
  const changed = [...values];
  changed[column] = value;
  return changed;
}
