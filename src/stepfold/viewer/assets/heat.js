// A value of every unit after every word as a heat map: one pixel an element, enlarged by the style sheet.

import { html } from "./elements.js";
import { quantile } from "./numbers.js";

export const MOST_UNITS = 96; // rows
const POSITIVE = [37, 120, 229]; // seen on white and on near black alike; the opacity says how far from the middle
const NEGATIVE = [226, 118, 28];

// Gates lie between 0 and 1, and are coloured by how far they are from half open; others, from 0. The
// strongest colour is nearly the largest distance, so that one outlier fades nothing.
export function heatScale(values) {
  const finite = values.flat.filter(Number.isFinite);
  const gates = finite.length > 0 && finite.every((value) => value >= 0 && value <= 1);
  const middle = gates ? 0.5 : 0;
  const sizes = finite.map((value) => Math.abs(value - middle));
  const largest = quantile(sizes, 0.995) || quantile(sizes, 1) || 0.5;
  return { middle, largest };
}

export function heatHeight(rows) {
  return rows * Math.min(16, Math.max(2, Math.round(220 / rows)));
}

export function drawHeat(values, order, scale, step) {
  const { steps, width, flat } = values;
  const canvas = html("canvas", { class: "heat", width: Math.max(steps, 1), height: Math.max(order.length, 1) });
  canvas.style.width = `${steps * step}px`;
  canvas.style.height = `${heatHeight(order.length)}px`;
  if (!steps || !order.length) return canvas;
  const image = new ImageData(steps, order.length);
  order.forEach((unit, row) => {
    for (let t = 0; t < steps; t += 1) {
      const value = flat[t * width + unit];
      if (!Number.isFinite(value)) continue;
      const place = 4 * (row * steps + t);
      const distance = (value - scale.middle) / scale.largest;
      image.data.set(distance < 0 ? NEGATIVE : POSITIVE, place);
      image.data[place + 3] = Math.round(255 * Math.min(1, Math.abs(distance)));
    }
  });
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}
