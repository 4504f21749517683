// Elements, plainly. Text is always text: nothing here or anywhere parses html.

const SVG = "http://www.w3.org/2000/svg";

/** make("p", {class: "x", hidden: true}, "text", child, ...) */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** One of the page's drawn signs. */
export function sign(name) {
  const svg = document.createElementNS(SVG, "svg");
  const use = document.createElementNS(SVG, "use");
  svg.setAttribute("aria-hidden", "true");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

export const $ = (id) => document.getElementById(id);

/** Tell it to those who listen: a screen reader says it, once, when it has time. */
export function announce(text) {
  const say = $("say");
  say.textContent = "";
  requestAnimationFrame(() => (say.textContent = text));
}
