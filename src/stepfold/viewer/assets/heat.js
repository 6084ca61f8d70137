// A value of every unit after every word as a heat map: one pixel an element, enlarged by the style sheet.

import { html } from "./elements.js";
import { quantile } from "./numbers.js";

export const MOST_UNITS = 96; // rows
const POSITIVE = [37, 120, 229]; // seen on white and on near black alike; the opacity says how far from zero
const NEGATIVE = [226, 118, 28];

// What the strongest colour stands for: nearly the largest magnitude, so that one outlier fades nothing.
export function heatScale(values) {
  const sizes = values.flat.filter(Number.isFinite).map(Math.abs);
  const largest = quantile(sizes, 0.995) || quantile(sizes, 1) || 1;
  return { largest, signed: values.flat.some((value) => value < 0) };
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
      image.data.set(value < 0 ? NEGATIVE : POSITIVE, place);
      image.data[place + 3] = Math.round(255 * Math.min(1, Math.abs(value) / scale.largest));
    }
  });
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}
