// The tabs Continue and Surprise: a text coloured by how little the model expected each token.

import { byId, count, element, listing, percent, quoted, sum, visible } from "./elements.js";
import { Problem, askStream, askWhole } from "./server.js";
import { Pieces, TokenText, bytesOf, tokensIn } from "./tokens.js";

const ALTERNATIVES = 5; // likeliest tokens that the server tells of each place
const STRONGEST = 6; // nats at which a colour is full

const inWords = (nats) => `${nats.toFixed(2)} nats, probability ${percent(Math.exp(-nats))}`;

/** A text coloured by surprise, with a card of what the model expected. Totals leave out the first token of a text. */
class SurpriseText extends TokenText {
  tokens = 0;
  nats = 0;
  bytes = 0;
  #joined = new Pieces();

  constructor(label) {
    super(label);
    this.box.classList.add("heat");
  }

  /** Append the tokens of an answer's `logprobs`. */
  push(logprobs) {
    for (const token of tokensIn(logprobs)) this.#add(this.#joined.push(token));
  }

  finish() {
    this.#add(this.#joined.finish());
  }

  #add(piece) {
    if (piece === null) return;
    const share = Math.min(1, (piece.nats ?? 0) / STRONGEST);
    this.append(piece).style.setProperty("--share", share.toFixed(3));
    if (piece.nats === null) return;
    this.tokens += piece.tokens.length;
    this.nats += piece.nats;
    this.bytes += sum(piece.tokens.map(({ name }) => bytesOf(name).length));
  }

  get text() {
    return this.pieces.map((piece) => piece.text).join("");
  }

  show(index, span) {
    if (index === null) hideCard();
    else showCard(this.pieces[index], span);
  }

  words(index) {
    const { text, nats, tokens } = this.pieces[index];
    if (nats === null) return `${visible(text)}: the first token`;
    const others = likeliest(tokens[0]).map(([name, chance]) => `${visible(name)} ${percent(chance)}`);
    return `${visible(text)}: ${inWords(nats)}. Likeliest: ${others.join(", ")}`;
  }
}

/** Pairs of token and probability at the place of a token, itself among them. */
function likeliest({ name, logprob, top }) {
  const pairs = Object.entries({ ...top, [name]: logprob }).map(([token, chance]) => [token, Math.exp(chance)]);
  return pairs.sort((one, other) => other[1] - one[1]);
}

/** Show what the model expected at a token, beside it. */
function showCard(piece, span) {
  const heading = element("p", { className: "what" }, element("b", { textContent: visible(piece.text) }));
  const card = byId("card");
  card.replaceChildren(heading);
  if (piece.nats === null) {
    heading.append("the first token: nothing stands before it to predict it from");
  } else {
    heading.append(inWords(piece.nats));
    const hardest = piece.tokens.reduce((one, other) => (other.logprob < one.logprob ? other : one));
    if (piece.tokens.length > 1) card.append(element("p", {}, `${piece.tokens.length} tokens, of which the hardest:`));
    card.append(bars(hardest));
  }
  card.hidden = false;
  const place = span.getBoundingClientRect();
  const right = document.documentElement.clientWidth - card.offsetWidth - 8;
  const below = place.bottom + card.offsetHeight + 8 < window.innerHeight;
  const top = below ? place.bottom + 6 : place.top - card.offsetHeight - 6;
  card.style.setProperty("--left", `${window.scrollX + Math.max(8, Math.min(place.left - 12, right))}px`);
  card.style.setProperty("--top", `${window.scrollY + top}px`);
  card.classList.toggle("high", place.top > window.innerHeight / 2); // where it lies at an edge of a small screen
}

export function hideCard() {
  byId("card").hidden = true;
}

function bars(token) {
  const list = element("ol");
  for (const [name, chance] of likeliest(token)) {
    const bar = element("i", { className: "bar" });
    bar.style.setProperty("--share", chance);
    const row = element("li", {}, element("b", { textContent: visible(name) }), bar, percent(chance));
    row.classList.toggle("this", name === token.name);
    list.append(row);
  }
  return list;
}

function scale() {
  const ariaLabel = `Colours: from expected to ${STRONGEST} nats and more`;
  const parts = ["expected", element("i"), `${STRONGEST} nats and more`];
  return element("p", { className: "scale heat", role: "img", ariaLabel }, ...parts);
}

export async function continueText(pane, { model, text, signal, settings }) {
  const written = new SurpriseText("Continued text");
  written.box.append(element("span", { className: "prompt", textContent: text }));
  pane.body.append(written.box);
  const begin = performance.now();
  let seed;
  const figures = () => {
    const seconds = (performance.now() - begin) / 1000;
    const parts = [count(written.tokens, "token"), `${seconds.toFixed(1)} s`];
    if (written.tokens) parts.push(`${(written.nats / written.tokens).toFixed(2)} nats per token`);
    if (seed !== undefined) parts.push(`seed ${seed}`);
    pane.figures(parts.join(" · "));
  };
  try {
    const body = { model: model.id, prompt: text, logprobs: ALTERNATIVES, ...settings };
    for await (const event of askStream("v1/completions", body, signal)) {
      seed = event.seed ?? seed;
      for (const { logprobs } of event.choices) if (logprobs) written.push(logprobs);
      figures();
    }
  } finally {
    written.finish();
    if (written.pieces.length) {
      figures();
      pane.body.append(scale(), handOver(text + written.text));
    } else written.box.remove();
  }
}

/** Buttons that take a text to the other tabs. */
function handOver(text) {
  const row = element("p", { className: "hand-over" }, "Take this text to ");
  for (const name of ["surprise", "attention", "copied"]) {
    const tab = byId(`${name}-tab`);
    const button = element("button", { type: "button", textContent: tab.textContent });
    button.addEventListener("click", () => {
      byId(`${name}-text`).value = text;
      tab.click();
      tab.focus();
      byId(name).querySelector("form").requestSubmit();
    });
    row.append(button);
  }
  return row;
}

export async function readSurprise(pane, { model, text, signal }) {
  const body = { model: model.id, prompt: text, echo: true, max_tokens: 0, logprobs: ALTERNATIVES };
  const { choices } = await askWhole("v1/completions", body, signal);
  const read = new SurpriseText("Text by surprise");
  read.push(choices[0].logprobs);
  read.finish();
  const { tokens, nats, bytes } = read;
  if (!tokens) throw new Problem("The text is a single token: nothing stands before it to predict it from. Give more.");
  const bits = nats / Math.LN2 / bytes;
  const mean = `${(nats / tokens).toFixed(3)} nats per token · ${bits.toFixed(3)} bits per byte`;
  pane.figures(`${mean} · ${count(tokens, "token")} predicted`);
  pane.body.append(read.box, scale(), hardestPlaces(read));
}

function hardestPlaces(read) {
  const order = read.pieces.map((_, index) => index).filter((index) => read.pieces[index].nats !== null);
  order.sort((one, other) => read.pieces[other].nats - read.pieces[one].nats);
  const words = (from, to) => quoted(read.pieces.slice(Math.max(0, from), to).map((piece) => piece.text).join(""));
  const item = (index) => {
    const here = element("mark", { textContent: words(index, index + 1) });
    const quote = element("span", { className: "quote" }, words(index - 14, index), here, words(index + 1, index + 10));
    const button = element("button", { type: "button" }, quote, `${read.pieces[index].nats.toFixed(1)} nats`);
    button.addEventListener("click", () => {
      read.box.focus();
      read.choose(index);
    });
    return [button];
  };
  return listing("Hardest places", order, item);
}
