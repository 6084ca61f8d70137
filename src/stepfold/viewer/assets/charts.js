// The line and the heat map over the same columns, in one box that scrolls sideways.

import { html, svg } from "./elements.js";
import { drawHeat, heatHeight, heatScale, MOST_UNITS } from "./heat.js";
import { LINE, drawAxis, drawFeet, drawLine, drawSeries, lineScale, seriesScale } from "./line.js";
import { number, ordering, shorten } from "./numbers.js";

const HEAD = 26; // px, of the caption above each drawing
const WORD = 14; // px, the least width of a column with its word
const SLANT = 44; // px, what the last word needs beside its column
const MOST_LABELS = 160; // of more words, the columns are narrower and bear numbers

function columnWidth(steps, room, labels) {
  if (labels) return Math.min(48, Math.max(WORD, (room - SLANT) / steps));
  return Math.min(48, Math.max(room / Math.max(steps, 1), steps <= 1500 ? 5 : 3));
}

export class Charts {
  constructor(pointed, chosen) {
    this.marker = html("div", { class: "marker" });
    this.content = html("div", { class: "content" });
    this.scroll = html("div", { class: "scroll", tabindex: "0", role: "region" }, this.content);
    this.axis = svg("svg", { class: "axis", width: 46, "aria-hidden": "true" });
    this.element = html("div", { class: "frame" }, this.axis, this.scroll);
    this.order = [];
    this.ordered = null; // what the order was made for
    this.at = -1;
    this.content.addEventListener("pointermove", (event) => pointed(this.column(event)));
    this.content.addEventListener("pointerleave", () => pointed(null));
    this.content.addEventListener("click", (event) => {
      const index = this.column(event);
      if (index !== null) chosen(index);
    });
    this.scroll.addEventListener("keydown", (event) => this.key(event, chosen));
    new ResizeObserver(() => {
      if (!this.given || this.room() === this.drawn) return;
      this.draw();
      this.point(this.at, true);
    }).observe(this.scroll);
  }

  room() {
    return this.scroll.clientWidth;
  }

  column(event) {
    const index = Math.floor((event.clientX - this.content.getBoundingClientRect().left) / this.step);
    return index >= 0 && index < this.given.tokens.length ? index : null;
  }

  // Left and right go from column to column here too.
  key(event, chosen) {
    const moves = { ArrowRight: 1, ArrowLeft: -1, Home: -Infinity, End: Infinity };
    if (!(event.key in moves) || !this.given?.tokens.length || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    chosen(Math.min(this.given.tokens.length - 1, Math.max(0, this.at + moves[event.key])));
  }

  // `given`: tokens, unit, output, before, outcome, probability, split; inputs and state or null.
  show(given) {
    const atEnd = this.scroll.scrollLeft + this.room() >= this.scroll.scrollWidth - 2 * WORD;
    this.given = given;
    this.arrange();
    this.draw();
    if (atEnd) this.scroll.scrollLeft = this.scroll.scrollWidth;
  }

  // Rows keep their places while a text grows, until it is twice as long as when they were ordered.
  arrange() {
    const { state, tokens, output, outcome } = this.given;
    if (!state) return;
    const key = `${outcome}\n${state.layer}\n${state.name}\n${state.values.width}`;
    const last = this.ordered;
    const grown = last && last.key === key && tokens.length >= last.tokens.length && tokens.length < 2 * last.tokens.length
      && last.tokens.every((token, k) => token === tokens[k]);
    if (grown) return;
    this.order = ordering(state.values, output, MOST_UNITS);
    this.ordered = { key, tokens };
  }

  draw() {
    const { tokens, unit, skipped, output, before, outcome, probability, split, inputs, state } = this.given;
    this.drawn = this.room();
    const labels = unit === "word" && tokens.length > 0 && tokens.length <= MOST_LABELS;
    this.step = columnWidth(tokens.length, this.drawn, labels);
    const scale = lineScale(output, before, probability);
    const line = drawLine(scale, output, before, this.step, split, this.drawn);
    const feet = drawFeet(tokens.map((token) => shorten(token, 14)), this.step, labels, skipped);
    const parts = [];
    const axis = [];
    let height = 0;
    if (inputs && tokens.length) {
      const measured = seriesScale(inputs);
      const shown = inputs.width < inputs.whole ? `, the first ${inputs.width} of ${inputs.whole}` : "";
      const own = measured.apart ? ", each on a scale of its own" : "";
      parts.push(html("div", { class: "caption" }, `Inputs${shown}${own}`), drawSeries(measured, inputs, this.step));
      axis.push(...drawAxis(measured, HEAD));
      height += HEAD + LINE;
    }
    parts.push(html("div", { class: "caption" }, `${outcome} after each ${unit}`), line.drawing);
    axis.push(...drawAxis(scale, height + HEAD));
    height += HEAD + LINE;
    if (state && tokens.length) {
      const rows = heatHeight(this.order.length);
      const colours = heatScale(state.values);
      parts.push(this.caption(state, colours), drawHeat(state.values, this.order, colours, this.step));
      const middle = height + HEAD + rows / 2;
      axis.push(svg("text", { class: "name", transform: `translate(32,${middle}) rotate(-90)`, "text-anchor": "middle" }, "units"));
      height += HEAD + rows;
    }
    this.marker.style.height = `${height - HEAD}px`;
    this.marker.style.top = `${HEAD}px`;
    this.marker.style.width = `${this.step}px`;
    parts.push(feet.drawing, this.marker);
    this.content.style.width = `${tokens.length * this.step + (labels ? SLANT : 0)}px`;
    this.content.replaceChildren(...parts);
    this.axis.setAttribute("height", String(height + feet.height));
    this.axis.replaceChildren(...axis);
    this.scroll.setAttribute("aria-label", `${outcome} and state after each ${unit}`);
    Object.assign(this, { scale, dot: line.dot });
    this.point(Math.min(this.at, tokens.length - 1), false);
  }

  caption(state, { middle, largest }) {
    const { width, whole } = state.values;
    const shown = this.order.length;
    const count = shown === whole ? `${whole} units` : `${shown} of ${whole} units`;
    const bar = html("span", { class: "bar" });
    const key = html("span", { class: "key" }, number(middle - largest), bar, number(middle + largest));
    return html("div", { class: "caption" }, html("span", {}, `${state.name} of ${shorten(state.layer, 30)}, ${width ? count : "no units"}`), key);
  }

  // Puts the marker on the column of word k; none for -1.
  point(k, reveal) {
    this.at = k;
    const value = this.given.output[k];
    this.marker.hidden = k < 0;
    if (this.dot) this.dot.style.display = k >= 0 && Number.isFinite(value) ? "" : "none";
    if (k < 0) return;
    const left = k * this.step;
    this.marker.style.left = `${left}px`;
    if (this.dot && Number.isFinite(value)) {
      this.dot.setAttribute("cx", String(left + this.step / 2));
      this.dot.setAttribute("cy", String(this.scale.y(value)));
    }
    const { scrollLeft } = this.scroll;
    // A word in view stays where it is, another one comes to the middle.
    if (reveal && (left < scrollLeft + WORD || left + 2 * WORD > scrollLeft + this.room())) {
      this.scroll.scrollLeft = left - this.room() / 2;
    }
  }
}
