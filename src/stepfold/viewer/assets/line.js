// The output after each word as a line: a drawing that scrolls, and the axis that stays beside it.

import { svg } from "./elements.js";
import { number, ticks } from "./numbers.js";

export const LINE = 150; // px, height of the drawing
const INSET = 8; // px, above and below the scale

// The vertical scale: probabilities from 0 to 1, values as they are.
export function lineScale(output, before, probability) {
  let low = 0;
  let high = 1;
  if (!probability) {
    const finite = [before, ...output].filter(Number.isFinite);
    low = Math.min(...finite, Infinity);
    high = Math.max(...finite, -Infinity);
    if (!(high >= low)) [low, high] = [0, 1];
    const room = 0.1 * (high - low) || 0.1 * Math.abs(high) || 1;
    [low, high] = [low - room, high + room];
  }
  const y = (value) => INSET + ((high - value) / (high - low)) * (LINE - 2 * INSET);
  return { y, marks: probability ? [0, 0.25, 0.5, 0.75, 1] : ticks(low, high), probability };
}

const FLAT = 8; // a series this many times flatter than all of them together could not be read

// The vertical scale of several series together, (steps, width); where their units differ too much, each has
// one of its own and the axis bears no numbers.
export function seriesScale({ flat, width }) {
  const range = (values) => {
    const finite = values.filter(Number.isFinite);
    return Math.max(...finite, -Infinity) - Math.min(...finite, Infinity);
  };
  const columns = Array.from({ length: width }, (_, u) => Array.from(flat.filter((_value, k) => k % width === u)));
  const whole = range(Array.from(flat));
  const apart = columns.some((column) => range(column) > 0 && range(column) * FLAT < whole);
  const shared = lineScale(Array.from(flat), NaN, false);
  if (!apart) return { ...shared, apart, of: () => shared };
  const own = columns.map((column) => lineScale(column, NaN, false));
  return { marks: [], apart, of: (u) => own[u] };
}

// Measurements: a line each, told apart by colour and dashes.
export function drawSeries(scale, inputs, step) {
  const { steps, width, flat } = inputs;
  const drawing = svg("svg", { class: "line", width: steps * step, height: LINE, "aria-hidden": "true" });
  for (const value of scale.marks) {
    drawing.append(svg("line", { class: "grid", x1: 0, x2: steps * step, y1: scale.y(value), y2: scale.y(value) }));
  }
  for (let u = 0; u < width; u += 1) {
    const points = [];
    for (let t = 0; t < steps; t += 1) {
      const value = flat[t * width + u];
      if (Number.isFinite(value)) points.push(`${((t + 0.5) * step).toFixed(1)},${scale.of(u).y(value).toFixed(1)}`);
    }
    drawing.append(svg("polyline", { class: seriesClass(u), points: points.join(" ") }));
  }
  return drawing;
}

function seriesClass(u) {
  return `series series${u % 6}`;
}

// A piece of the line of series u, to stand beside its name.
export function seriesKey(u) {
  return svg("svg", { class: "dash", width: 22, height: 8, "aria-hidden": "true" },
    svg("line", { class: seriesClass(u), x1: 0, x2: 22, y1: 4, y2: 4 }));
}

export function drawAxis(scale, top) {
  const digits = scale.marks.every((value) => Number.isInteger(value)) ? 0 : 2;
  return scale.marks.map((value) =>
    svg("text", { x: 38, y: top + scale.y(value), dy: "0.35em", "text-anchor": "end" },
      scale.probability ? String(value) : number(value, digits)));
}

export function drawLine(scale, output, before, step, split, room) {
  const width = output.length ? output.length * step : Math.max(room, 1);
  const drawing = svg("svg", { class: "line", width, height: LINE, "aria-hidden": "true" });
  for (const value of scale.marks) {
    const y = scale.y(value);
    drawing.append(svg("line", { class: "grid", x1: 0, x2: width, y1: y, y2: y }));
  }
  const places = [[0, before], ...output.map((value, k) => [(k + 0.5) * step, value])];
  const points = places.filter(([, value]) => Number.isFinite(value));
  if (!points.length) return { drawing, dot: null };
  if (scale.probability) drawing.append(...areas(scale, points, width, split));
  const path = points.map(([x, value]) => `${x.toFixed(1)},${scale.y(value).toFixed(1)}`).join(" ");
  drawing.append(svg("polyline", { class: "curve", points: path }));
  const dot = svg("circle", { class: "dot", r: 4.5 });
  drawing.append(dot);
  return { drawing, dot };
}

// The area between the line and `split`: one colour above it, one below. Nested drawings clip without ids.
function areas(scale, points, width, split) {
  const middle = scale.y(split);
  const path = [
    `M${points[0][0]},${middle}`,
    ...points.map(([x, value]) => `L${x.toFixed(1)},${scale.y(value).toFixed(1)}`),
    `L${points.at(-1)[0]},${middle}Z`,
  ].join("");
  const half = (name, top, height) =>
    svg("svg", { x: 0, y: top, width, height, viewBox: `0 ${top} ${width} ${height}`, overflow: "hidden" },
      svg("path", { class: name, d: path }));
  const upper = half("above", 0, middle);
  return split > 0 ? [upper, half("below", middle, LINE - middle)] : [upper];
}

// Words, or their numbers where there is no room for words, under the columns.
export function drawFeet(tokens, step, labels, skipped) {
  const height = labels ? 78 : 22;
  const width = Math.max(tokens.length * step, 1);
  const drawing = svg("svg", { class: "feet", width, height, "aria-hidden": "true" });
  const every = labels ? 1 : [1, 2, 5, 10, 20, 25, 50, 100, 200, 250, 500, 1000].find((n) => n * step >= 60) ?? 2500;
  tokens.forEach((token, k) => {
    const x = (k + 0.5) * step;
    if (labels) {
      drawing.append(svg("text", { transform: `translate(${(x - 3).toFixed(1)},11) rotate(55)` }, token));
    } else if ((skipped + k + 1) % every === 0 && x > 12 && x < width - 12) {
      drawing.append(svg("text", { x: x.toFixed(1), y: 15, "text-anchor": "middle" }, String(skipped + k + 1)));
    }
  });
  return { drawing, height };
}
