// The words, coloured and underlined by how far each moved the output. Arrow keys go from word to word.

import { html } from "./elements.js";
import { number, shorten, signed } from "./numbers.js";

const LEVELS = 6;
const LONG = 300; // words, from which on they scroll in a box of their own
const PAGE = 10; // words, for the keys that turn pages

// 0, or up to six levels up or down; the square root shows small moves too. (The page without scripts has
// the same levels: _still.py.)
export function level(change, span) {
  const size = Math.min(1, Math.sqrt(Math.abs(change) / span));
  return Number.isFinite(size) ? Math.sign(change) * Math.floor(size * LEVELS) : 0;
}

export class Words {
  // `pointed(index or null)` while the pointer is on a word; `chosen(index)` on focus.
  constructor(pointed, chosen) {
    this.spans = [];
    this.active = -1;
    this.element = html("p", { class: "words", role: "listbox", "aria-orientation": "horizontal", dir: "auto" });
    this.element.addEventListener("pointerover", (event) => pointed(this.place(event.target)));
    this.element.addEventListener("pointerleave", () => pointed(null));
    this.element.addEventListener("focusin", (event) => {
      const index = this.place(event.target);
      if (index !== null) chosen(index);
    });
    this.element.addEventListener("keydown", (event) => this.key(event));
  }

  place(target) {
    const index = this.spans.indexOf(target);
    return index < 0 ? null : index;
  }

  show(explanation, output, before, span, outcome) {
    const { tokens, known } = explanation;
    this.element.setAttribute("aria-label", `Words, coloured by how far each moved the ${outcome}`);
    this.mark(-1);
    while (this.spans.length > tokens.length) {
      const gone = this.spans.pop();
      gone.nextSibling.remove();
      gone.remove();
    }
    const added = document.createDocumentFragment();
    tokens.forEach((token, k) => {
      const change = output[k] - (k ? output[k - 1] : before);
      const strength = level(change, span);
      const text = shorten(token, 80);
      let word = this.spans[k];
      if (!word) {
        word = html("span", { role: "option", tabindex: "-1", "aria-selected": "false" });
        this.spans.push(word);
        added.append(word, " ");
      }
      if (word.textContent !== text) word.textContent = text;
      const tone = strength ? (strength > 0 ? `up up${strength}` : `down down${-strength}`) : "";
      const name = `${tone}${known[k] ? "" : " new"}`.trim();
      if (word.className !== name) word.className = name;
      const lacking = known[k] ? "" : ", not in the vocabulary";
      const label = `${text}: ${number(output[k])}, ${signed(change)}${lacking}`;
      word.title = label;
      word.setAttribute("aria-label", label);
    });
    this.element.append(added);
    this.element.classList.toggle("long", tokens.length > LONG);
    this.mark(this.spans.length - 1);
  }

  // Marks the word whose column is shown; it is also where the tab key enters.
  mark(index) {
    if (index === this.active) return;
    const before = this.spans[this.active];
    before?.setAttribute("tabindex", "-1");
    before?.setAttribute("aria-selected", "false");
    this.active = index;
    this.spans[index]?.setAttribute("tabindex", "0");
    this.spans[index]?.setAttribute("aria-selected", "true");
  }

  key(event) {
    const index = this.place(event.target);
    if (index === null || event.ctrlKey || event.metaKey || event.altKey) return;
    const forward = getComputedStyle(this.element).direction === "rtl" ? -1 : 1;
    const moves = {
      ArrowRight: forward, ArrowLeft: -forward, ArrowDown: 1, ArrowUp: -1,
      PageDown: PAGE, PageUp: -PAGE, Home: -Infinity, End: Infinity,
    };
    if (!(event.key in moves)) return;
    event.preventDefault();
    const next = Math.min(this.spans.length - 1, Math.max(0, index + moves[event.key]));
    this.spans[next].focus();
  }
}
