// The component: models side by side, fed by a server or by stored explanations.

import { html } from "./elements.js";
import { Server, WAIT } from "./live.js";
import { Panel } from "./panel.js";

const EXAMPLE =
  "I went in expecting very little, and the first half hour was dull and clumsy. " +
  "But then two superb actors simply talk in a kitchen, and it is wonderful: tender, funny, and never false. I loved it.";

function legend() {
  const entry = (name, sample, text) => html("li", {}, html("span", { class: name }, sample), ` ${text}`);
  return html("ul", { class: "legend" },
    entry("up up5", "word", "raised the line"),
    entry("down down5", "word", "lowered the line"),
    entry("new", "word", "not in the vocabulary"));
}

function panels(models, asked) {
  const all = models.map((model) => new Panel(model, (from, index) => {
    for (const other of all) if (other !== from) other.follow(from, index);
  }, asked));
  return all;
}

function mountStored(root, { models, explanations }) {
  // Stored data holds every value that there is.
  const all = panels(models, () => {});
  const words = explanations.some(({ unit = "word" }) => unit === "word");
  root.replaceChildren(words ? legend() : "", html("div", { class: "panels" }, ...all.map((panel) => panel.element)));
  all.forEach((panel, k) => panel.show(explanations[k]));
}

function mountLive(root, { models, address }) {
  const server = new Server(address);
  const text = html("textarea", {
    rows: "4", spellcheck: "false", dir: "auto", placeholder: "Type or paste a review",
  });
  const status = html("p", { class: "status", role: "status" });
  const example = html("button", { type: "button" }, "Try an example");
  const clear = html("button", { type: "button" }, "Clear");
  const failed = new Map(); // panel -> why it shows no answer to the last change
  let timer = 0;

  const ask = async (panel) => {
    panel.busy(true);
    // The first answer names every value; later ones bring the states and the value that is shown.
    const values = panel.known ? [panel.wanted].filter((name) => name !== null) : true;
    try {
      const explanation = await server.explain(panel.model.name, text.value, values);
      if (explanation === null) return;
      panel.show(explanation);
      panel.busy(false);
      failed.delete(panel);
    } catch (error) {
      panel.busy(false);
      const name = all.length > 1 ? `${panel.model.name} shows an earlier text: ` : "";
      failed.set(panel, error.status ? name + error.message : "The server cannot be reached; the next change asks again.");
    }
    status.textContent = [...new Set(failed.values())].join(" ");
  };
  const all = panels(models, ask);
  const askAll = () => all.forEach(ask);
  const change = (value) => {
    text.value = value;
    askAll();
    text.focus();
  };
  text.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(askAll, WAIT);
  });
  example.addEventListener("click", () => change(EXAMPLE));
  clear.addEventListener("click", () => change(""));
  root.replaceChildren(
    html("label", { class: "text" }, html("span", {}, "Text"), text),
    html("div", { class: "actions" }, example, clear, legend()),
    status, html("div", { class: "panels" }, ...all.map((panel) => panel.element)));
  askAll();
}

for (const root of document.querySelectorAll(".stepfold-viewer:not([data-mounted])")) {
  root.dataset.mounted = "";
  const data = JSON.parse(root.querySelector("script[type='application/json']").textContent);
  if (data.explanations) mountStored(root, data);
  else mountLive(root, data);
}
