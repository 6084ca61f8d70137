// Elements made of tags, attributes and children. Texts only ever become text nodes, never markup.

const SVG = "http://www.w3.org/2000/svg";

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

export function html(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

// A choice with its label; `changed` is called with the index chosen.
export function choice(label, changed) {
  const select = html("select");
  select.addEventListener("change", () => changed(select.selectedIndex));
  const whole = html("label", { class: "choice" }, html("span", {}, label), select);
  let names = [];
  return {
    element: whole,
    // Shows these names; with only one there is nothing to choose.
    offer(offered, index) {
      if (offered.length !== names.length || offered.some((name, k) => name !== names[k])) {
        names = [...offered];
        select.replaceChildren(...names.map((name) => html("option", {}, name)));
      }
      select.selectedIndex = index;
      whole.hidden = names.length < 2;
    },
  };
}
