// Parts of a page and words on it. A text of the user or of a model becomes `textContent`, and never markup.

const LISTED = 8; // places listed below a text

export const byId = (id) => document.getElementById(id);

export function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

export const percent = (share) => (share >= 0.0995 ? (100 * share).toFixed(0) : (100 * share).toPrecision(2)) + " %";
export const count = (number, word) => `${number.toLocaleString("en")} ${word}${number === 1 ? "" : "s"}`;
export const sum = (numbers) => numbers.reduce((total, number) => total + number, 0);
export const quoted = (text) => text.replaceAll("\n", "↵").replaceAll("\t", "⇥");
export const visible = (text) => quoted(text).replaceAll(" ", "␣");

/** The first things of a list; `item` makes the parts of a line from one: what it is, and a number. */
export function listing(title, things, item) {
  const lines = things.slice(0, LISTED).map((thing) => element("li", {}, ...item(thing)));
  const list = element("ol", { className: "places" }, ...lines);
  return element("section", {}, element("h3", { textContent: title }), list);
}

/** Buttons of which one is chosen; `options` are {name, content}, `choose` gets the number of another one. */
export function radios(label, options, chosen, choose) {
  const buttons = element("div");
  const name = crypto.randomUUID();
  for (const [number, option] of options.entries()) {
    const input = element("input", { type: "radio", name, checked: number === chosen, ariaLabel: option.name });
    input.addEventListener("change", () => choose(number));
    buttons.append(element("label", {}, input, element("span", {}, option.content)));
  }
  const group = { className: "radios", role: "radiogroup", ariaLabel: label };
  return element("div", group, element("span", { textContent: label }), buttons);
}
