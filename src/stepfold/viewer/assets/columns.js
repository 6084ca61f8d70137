// What stands at the column of one word, as a small table.

import { html } from "./elements.js";
import { seriesKey } from "./line.js";
import { number, shorten, signed } from "./numbers.js";

const MOST_CLASSES = 6;
const MOST_INPUTS = 6;
const MOST_UNITS = 4;

function row(name, value) {
  return html("tr", {}, html("th", { scope: "row" }, name), html("td", {}, value));
}

// The rows for word k: `outcome` is the class shown, `state` the matrix shown with its name, or null.
export function columnRows(explanation, k, outcome, state) {
  const { tokens, known, labels, outputs, before, unit = "word", skipped = 0 } = explanation;
  if (k < 0) return [row("Word", "none yet"), ...labels.slice(0, MOST_CLASSES).map((label, c) => row(label, number(before[c], 3)))];
  const rows = [];
  if (unit === "word") rows.push(row("Word", `${shorten(tokens[k], 40)}${known[k] ? "" : " (not in the vocabulary)"}`));
  rows.push(row(unit === "word" ? "Place" : "Timestep", `${skipped + k + 1} of ${skipped + tokens.length}`));
  const order = labels.map((_, c) => c);
  if (labels.length > MOST_CLASSES) order.sort((a, b) => outputs[k][b] - outputs[k][a]);
  for (const c of order.slice(0, MOST_CLASSES)) rows.push(row(shorten(labels[c], 40), number(outputs[k][c], 3)));
  const earlier = k ? outputs[k - 1] : before;
  const what = labels.length > 1 ? `Change of ${shorten(labels[outcome], 30)}` : "Change";
  rows.push(row(what, signed(outputs[k][outcome] - earlier[outcome], 3)));
  explanation.inputs?.values[k].slice(0, MOST_INPUTS).forEach((value, u) => {
    rows.push(row(html("span", {}, `Input ${u + 1} `, seriesKey(u)), number(value, 3)));
  });
  if (state) rows.push(...stateRows(state, k));
  return rows;
}

function stateRows({ name, values }, k) {
  const { width, flat, units } = values;
  const now = flat.subarray(k * width, (k + 1) * width);
  const last = k ? flat.subarray((k - 1) * width, k * width) : new Float32Array(width);
  const size = Math.sqrt(now.reduce((sum, value) => sum + value * value, 0) / (width || 1));
  const order = Array.from(now.keys()).sort((a, b) => Math.abs(now[b] - last[b]) - Math.abs(now[a] - last[a]));
  const moved = order.slice(0, MOST_UNITS).filter((u) => Math.abs(now[u] - last[u]) >= 0.005);
  const rows = [row(`${name}, root mean square`, number(size, 3))];
  moved.forEach((u, n) => {
    rows.push(row(`${n ? "" : "Moved most: "}unit ${units[u]}`, `${number(last[u])} → ${number(now[u])}`));
  });
  return rows;
}
