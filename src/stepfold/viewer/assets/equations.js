// A cell's equations as text; those of the value that is shown are marked.

import { html } from "./elements.js";

// The title of `cell.show("maths")` and its lines of maths, without the parts on parameters and the loop.
export function split(maths) {
  const parts = maths.trim().split(/\n\s*\n/);
  const end = parts.findIndex((part) => part.startsWith("Parameters"));
  const kept = end < 0 ? parts : parts.slice(0, end);
  const lines = kept.filter((part) => /^(  |where)/.test(part)).join("\n\n");
  const title = kept[0] && !kept[0].startsWith("  ") ? kept[0].replace(/\s+/g, " ") : "";
  return lines ? { title, lines: lines.split("\n") } : { title: "", lines: maths.split("\n") };
}

// A cell and the layer that it is in.
export function titled(cell, layer) {
  return layer === cell || !layer ? cell : `${cell}, ${layer}`;
}

export class Equations {
  constructor(equations) {
    this.lines = [];
    const cells = new Map(); // layers of the same maths share one text
    for (const { name, cell, maths } of equations) {
      const found = cells.get(maths) ?? { names: [], cell };
      found.names.push(name);
      cells.set(maths, found);
    }
    const blocks = Array.from(cells, ([maths, found]) => this.block(maths, found));
    this.element = html("div", { class: "equations" }, ...blocks);
  }

  block(maths, { names, cell }) {
    const { title, lines } = split(maths);
    const heading = titled(cell, names.join(", "));
    const text = html("pre", { tabindex: "0", role: "region", "aria-label": `Equations of ${heading}` });
    for (const line of lines) {
      const row = html("span", {}, `${line.replace(/^ {2}/, "")}\n`);
      const name = /^ {2}(\S+)\s+=/.exec(line)?.[1];
      if (name) this.lines.push({ names, name, row });
      text.append(row);
    }
    const about = title.startsWith(`${cell}: `) ? title.slice(cell.length + 2) : title;
    return html("div", {}, html("h4", {}, `Equations of ${heading}`), text, about && about !== cell ? html("p", { class: "note" }, about) : null);
  }

  mark(layer, value) {
    const several = this.lines.some((line) => line.names.includes(layer));
    for (const { names, name, row } of this.lines) {
      const same = name === value || name === `${value}'`;
      row.className = same && (!several || names.includes(layer)) ? "shown" : "";
    }
  }
}
