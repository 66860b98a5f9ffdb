// Where one model shows what it makes of a text.

import { element } from "./elements.js";
import { Problem } from "./server.js";

/** The name of a model, figures, a body, and what went wrong. */
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
