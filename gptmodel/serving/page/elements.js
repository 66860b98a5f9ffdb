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

/** Buttons of which one is chosen, at first the first; `options` are {name, content}. */
export function radios(label, options, choose) {
  const group = element("div", { className: "radios", role: "radiogroup", ariaLabel: label });
  group.append(element("span", { textContent: label }));
  const name = crypto.randomUUID();
  for (const [number, option] of options.entries()) {
    const input = element("input", { type: "radio", name, checked: number === 0, ariaLabel: option.name });
    input.addEventListener("change", () => choose(number));
    group.append(element("label", {}, input, element("span", {}, option.content)));
  }
  return group;
}

/** Where one model shows what it makes of a text: its name, figures, body, and what went wrong. */
export class Pane {
  constructor(model) {
    this.heading = element("h2", { textContent: model });
    this.numbers = element("p", { className: "figures" });
    this.body = element("div", { className: "body" });
    this.section = element("section", { className: "pane", ariaLabel: `Model ${model}` });
    this.section.append(element("header", {}, this.heading, this.numbers), this.body);
  }

  figures(line) {
    this.numbers.textContent = line;
  }

  /** Do something; what goes wrong is told in the pane. Returns the word for how it ended. */
  async attempt(work) {
    this.section.querySelector(".problem")?.remove();
    this.section.ariaBusy = "true";
    try {
      await work();
      return "Done.";
    } catch (error) {
      if (error.name === "AbortError") return "Stopped.";
      if (!(error instanceof Problem)) throw error;
      this.section.append(element("p", { className: "problem", role: "alert", textContent: error.message }));
      return "";
    } finally {
      this.section.ariaBusy = "false";
    }
  }
}
