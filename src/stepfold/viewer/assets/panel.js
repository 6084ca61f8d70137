// One model: what it says in the end, the words, the charts, the column of one word, the equations.

import { Charts } from "./charts.js";
import { columnRows } from "./columns.js";
import { choice, html } from "./elements.js";
import { Equations, titled } from "./equations.js";
import { matrix, number, probabilities, shorten } from "./numbers.js";
import { Words } from "./words.js";

const CALM = 600; // ms without a change before the number is read out

export class Panel {
  // `pointed(panel, index or null)` tells the others; `asked(panel)` asks for the value that was chosen.
  constructor(model, pointed, asked) {
    this.model = model;
    this.asked = asked;
    this.told = pointed;
    this.explanation = null;
    this.catalogue = []; // layers with the names of their values, as far as they are known
    this.outcome = null;
    this.layer = 0;
    this.value = 0;
    this.hovered = null;
    this.chosen = null;
    this.build();
  }

  build() {
    const pointed = (index) => this.hover(index);
    this.words = new Words(pointed, (index) => this.choose(index));
    this.charts = new Charts(pointed, (index) => this.choose(index));
    this.equations = new Equations(this.model.equations);
    this.classes = choice("Class", (index) => this.pick({ outcome: index }));
    this.layers = choice("Layer", (index) => this.pick({ layer: index, value: 0 }));
    this.values = choice("Value", (index) => this.pick({ value: index }));
    this.figure = html("span", { class: "figure" }, "–");
    this.verdict = html("span", { class: "outcome" });
    this.spoken = html("span", { class: "spoken", "aria-live": "polite" });
    this.table = html("tbody");
    this.note = html("p", { class: "note" });
    const name = shorten(this.model.name, 60);
    const choices = [this.classes, this.layers, this.values].map((each) => each.element);
    for (const each of choices) each.hidden = true;
    this.element = html("section", { class: "panel", "aria-label": name },
      html("header", {}, html("h3", {}, name), html("p", { class: "now" }, this.figure, " ", this.verdict), this.spoken),
      html("div", { class: "body" },
        html("div", { class: "main" },
          this.words.element, html("div", { class: "choices" }, ...choices), this.charts.element, this.note),
        html("div", { class: "side" },
          html("table", {}, html("caption", {}, "At this point"), this.table), this.equations.element)));
  }

  get probability() {
    const { probabilities: stored, before, outputs } = this.explanation;
    return stored ?? probabilities([before, ...outputs]);
  }

  // The name of the value that is shown, null before it is known.
  get wanted() {
    return this.catalogue[this.layer]?.names[this.value] ?? null;
  }

  get known() {
    return this.catalogue.length > 0;
  }

  show(explanation) {
    this.explanation = explanation;
    this.learn(explanation.layers);
    this.chosen = null;
    this.hovered = null;
    this.draw();
  }

  learn(layers) {
    layers.forEach((layer, k) => {
      const names = Object.keys(layer.values);
      if (names.length >= (this.catalogue[k]?.names.length ?? 0)) {
        this.catalogue[k] = { name: layer.name, cell: layer.cell, names };
      }
    });
  }

  pick(change) {
    Object.assign(this, change);
    if (!this.explanation) return;
    if (this.state() === undefined) this.asked(this); // what is shown stays until the answer is there
    else this.draw();
  }

  // The matrix that was chosen: undefined if the explanation has it not, null if there is no state at all.
  state() {
    const layer = this.explanation.layers[this.layer];
    if (!layer || this.wanted === null) return null;
    const stored = layer.values[this.wanted];
    return stored === undefined ? undefined : { name: this.wanted, layer: titled(layer.cell, layer.name), values: matrix(stored) };
  }

  draw() {
    const { tokens, labels, outputs, before, unit = "word", skipped = 0, inputs = null } = this.explanation;
    const last = outputs.at(-1) ?? before;
    const likeliest = last.indexOf(Math.max(...last));
    const classes = this.probability;
    const first = !classes ? 0 : labels.length > 2 ? likeliest : 1;
    const outcome = Math.min(this.outcome ?? first, labels.length - 1);
    const output = outputs.map((row) => row[outcome] ?? NaN);
    this.shown = { outcome, output, state: this.state() ?? null };
    const subject = classes ? `probability of ${shorten(labels[outcome], 40)}` : shorten(labels[outcome], 40);
    const reach = [before[outcome], ...output].filter(Number.isFinite);
    const span = classes ? 0.35 : Math.max(...reach, -Infinity) - Math.min(...reach, Infinity) || 1;
    this.words.element.hidden = unit !== "word";
    if (unit === "word") this.words.show(this.explanation, output, before[outcome], span, subject);
    this.charts.at = tokens.length - 1;
    this.charts.show({
      tokens, unit, skipped, output, before: before[outcome], outcome: subject[0].toUpperCase() + subject.slice(1),
      probability: classes, split: labels.length === 2 ? 0.5 : 0, state: this.shown.state,
      inputs: inputs && { ...matrix(inputs.values), whole: inputs.whole },
    });
    this.classes.offer(labels.length > 2 || !classes ? labels.map((label) => shorten(label, 40)) : [], outcome);
    this.layers.offer(this.catalogue.map(({ cell, name }) => shorten(titled(cell, name), 40)), this.layer);
    this.values.offer(this.catalogue[this.layer]?.names ?? [], this.value);
    this.equations.mark(this.catalogue[this.layer]?.name, this.wanted);
    this.say(last, outcome, tokens.length);
    this.point();
  }

  say(last, outcome, count) {
    const { labels, layers } = this.explanation;
    const classes = this.probability;
    const shown = classes ? Math.max(last.indexOf(Math.max(...last)), 0) : outcome;
    this.figure.textContent = number(last[shown], classes && last[shown] > 0.99 ? 3 : 2);
    const name = classes || labels.length > 1 ? shorten(labels[shown], 60) : "";
    this.verdict.textContent = count ? name : `${name} before the first word`.trim();
    this.element.dataset.tone = classes && labels.length === 2 && count ? (shown ? "up" : "down") : "";
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      this.spoken.textContent = `${this.model.name}: ${this.figure.textContent} ${this.verdict.textContent}`;
    }, CALM);
    const { skipped = 0, unit = "word" } = this.explanation;
    const left = skipped ? `The last ${count} of ${count + skipped} ${unit}s are shown. ` : "";
    this.note.textContent = left + (layers.length
      ? "Each row of the heat map is a unit: blue is above the middle of its scale, orange below. Units that rise with the line are at the top, those that fall with it at the bottom."
      : "No layer of this model reads forward only, so there is no state to show after each word.");
    this.note.hidden = count === 0;
  }

  // The word whose column is shown: under the pointer, else with the focus, else the last one.
  get index() {
    return this.hovered ?? this.chosen ?? (this.explanation?.tokens.length ?? 0) - 1;
  }

  hover(index) {
    if (!this.explanation || index === this.hovered) return;
    this.hovered = index;
    this.point();
    this.told(this, index);
  }

  choose(index) {
    if (!this.explanation) return;
    this.chosen = index;
    this.hovered = null;
    this.point(true);
    this.told(this, index);
  }

  // Another panel shows this word: the same word nearest to the same place, if there is one.
  follow(other, index) {
    if (!this.explanation) return;
    if (index !== null) index = this.nearest(other.explanation.tokens, index);
    this.hovered = index;
    this.point(true);
  }

  nearest(tokens, index) {
    const own = this.explanation.tokens;
    const place = tokens.length === own.length ? index : (index * own.length) / tokens.length;
    let found = null;
    own.forEach((token, k) => {
      if (token === tokens[index] && (found === null || Math.abs(k - place) < Math.abs(found - place))) found = k;
    });
    return found;
  }

  point(reveal = false) {
    const { outcome, state } = this.shown;
    this.words.mark(this.index);
    this.charts.point(this.index, reveal);
    this.table.replaceChildren(...columnRows(this.explanation, this.index, outcome, state));
  }

  busy(busy) {
    this.element.setAttribute("aria-busy", String(busy));
  }
}
