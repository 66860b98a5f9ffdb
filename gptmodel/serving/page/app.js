// The playground: four ways to look at what a model does with a text, each for one model or for two side by side.
//
// Everything comes from the server that sent this file, by the routes that other clients use. Styles are set through
// classes and custom properties, as the server's Content-Security-Policy demands.

import { readAttention } from "./attention.js";
import { findCopied } from "./copied.js";
import { byId } from "./elements.js";
import { Pane } from "./pane.js";
import { Problem, askWhole } from "./server.js";
import { continueText, hideCard, readSurprise } from "./surprise.js";

const served = new Map();
const runs = { continue: continueText, surprise: readSurprise, attention: readAttention, copied: findCopied };

function openTab(name) {
  for (const tab of document.querySelectorAll("[role=tab]")) {
    const open = tab.id === `${name}-tab`;
    tab.ariaSelected = String(open);
    tab.tabIndex = open ? 0 : -1;
    byId(tab.getAttribute("aria-controls")).hidden = !open;
  }
  hideCard();
  history.replaceState(null, "", `#${name}`);
}

function setUpTabs() {
  const tabs = [...document.querySelectorAll("[role=tab]")];
  const names = tabs.map((tab) => tab.getAttribute("aria-controls"));
  for (const [index, tab] of tabs.entries()) {
    tab.addEventListener("click", () => openTab(names[index]));
    tab.addEventListener("keydown", ({ key }) => {
      const goal = { ArrowRight: index + 1, ArrowLeft: index - 1, Home: 0, End: -1 }[key];
      if (goal === undefined) return;
      const next = (goal + tabs.length) % tabs.length;
      openTab(names[next]);
      tabs[next].focus();
    });
  }
  const fragment = location.hash.slice(1);
  openTab(names.includes(fragment) ? fragment : names[0]);
}

/** Settings of a form as the server takes them; an empty one is left to the server. */
function settingsOf(form) {
  const numbers = [...form.elements].filter((field) => field.tagName === "INPUT" && field.value !== "");
  return Object.fromEntries(numbers.map((field) => [field.name, Number(field.value)]));
}

function setUpForm(name) {
  const form = byId(name).querySelector("form");
  const stop = form.querySelector(".stop");
  const status = form.querySelector("[role=status]");
  let controller = null;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    controller?.abort();
    const own = (controller = new AbortController());
    if (!served.size) await setUpModels(); // the server was gone before
    const chosen = new Set([byId("model").value, byId("beside").value]);
    const models = [...chosen].filter((id) => served.has(id)).map((id) => served.get(id));
    const panes = models.map((model) => new Pane(model.id));
    byId(name).querySelector(".panes").replaceChildren(...panes.map((pane) => pane.section));
    status.textContent = "Working …";
    stop.disabled = false;
    const request = { text: form.elements.text.value, signal: own.signal, settings: settingsOf(form) };
    const run = (pane, index) => pane.attempt(() => runs[name](pane, { ...request, model: models[index] }));
    const ends = await Promise.all(panes.map(run));
    if (controller !== own) return; // another run has begun meanwhile
    status.textContent = ends.find(Boolean) ?? "";
    stop.disabled = true;
  });
  stop.addEventListener("click", () => controller.abort());
  form.elements.text.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });
}

function setUpSettings() {
  for (const output of document.querySelectorAll(".settings output")) {
    const input = byId(output.getAttribute("for"));
    const show = () => (output.textContent = Number(input.value).toFixed(2));
    input.addEventListener("input", show);
    show();
  }
  const settings = document.querySelector(".settings");
  const wide = matchMedia("(min-width: 800px)");
  const unfold = () => (settings.open = wide.matches);
  wide.addEventListener("change", unfold);
  unfold();
  settings.addEventListener("invalid", () => (settings.open = true), true); // what is wrong has to be seen
}

async function setUpModels() {
  byId("server-problem").hidden = true;
  try {
    const { data } = await askWhole("v1/models");
    for (const model of data) {
      served.set(model.id, model);
      for (const id of ["model", "beside"]) byId(id).append(new Option(model.id));
    }
    byId("beside-choice").hidden = data.length < 2;
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    byId("server-problem").textContent = error.message;
    byId("server-problem").hidden = false;
  }
}

setUpTabs();
setUpSettings();
for (const name of Object.keys(runs)) setUpForm(name);
await setUpModels();
