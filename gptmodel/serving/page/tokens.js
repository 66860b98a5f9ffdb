// Tokens: joined to characters where they are parts of one, and a text whose tokens can be pointed at.

import { byId, element, sum } from "./elements.js";

export const bytesOf = (token) => {
  const named = /^bytes:((?:\\x[0-9a-f]{2})+)$/.exec(token); // OpenAI's name for bytes that are no character
  if (!named) return new TextEncoder().encode(token);
  return Uint8Array.from(named[1].slice(2).split("\\x"), (hex) => parseInt(hex, 16));
};

/** Joins tokens that are parts of one character: `push` returns a piece of text once it is whole, with its tokens. */
export class Pieces {
  #decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  #tokens = [];

  push(token) {
    this.#tokens.push(token);
    return this.#piece(this.#decoder.decode(bytesOf(token.name), { stream: true }));
  }

  /** What is left at the end: a character that lacks some of its tokens. */
  finish() {
    return this.#piece(this.#decoder.decode());
  }

  #piece(text) {
    if (!text) return null;
    const logprobs = this.#tokens.map((part) => part.logprob);
    const nats = logprobs.includes(null) ? null : -sum(logprobs);
    const piece = { text, nats, tokens: this.#tokens };
    this.#tokens = [];
    return piece;
  }
}

/** Tokens of an answer's `logprobs`, with the likeliest alternatives of each. */
export function* tokensIn({ tokens, token_logprobs: logprobs, top_logprobs: tops }) {
  for (const [at, name] of tokens.entries()) yield { name, logprob: logprobs[at], top: tops?.[at] };
}

/** A text whose tokens can be pointed at: by mouse, by finger, and by arrow keys once it has the focus.
 *
 * A subclass says what happens then: `show(index or null, span)` for the eye, `words(index)` for a screen reader.
 */
export class TokenText {
  pieces = [];
  #spans = [];
  #chosen = null;

  constructor(label) {
    const keys = `${label}. The arrow keys go from token to token.`;
    this.box = element("div", { className: "text", tabIndex: 0, role: "group", ariaLabel: keys });
    const pointedAt = ({ target }) => (this.#spans.includes(target) ? this.#spans.indexOf(target) : null);
    this.box.addEventListener("pointerover", (event) => this.#point(pointedAt(event)));
    this.box.addEventListener("pointerleave", () => this.#point(this.#chosen));
    this.box.addEventListener("click", (event) => this.choose(pointedAt(event)));
    this.box.addEventListener("keydown", (event) => this.#key(event));
    this.box.addEventListener("blur", () => this.choose(null));
  }

  append(piece) {
    const span = element("span", { className: "token", textContent: piece.text });
    span.classList.toggle("line-end", piece.text === "\n");
    this.pieces.push(piece);
    this.#spans.push(span);
    this.box.append(span);
    return span;
  }

  /** Frame the token at an index. */
  mark(index) {
    for (const [at, span] of this.#spans.entries()) span.classList.toggle("asking", at === index);
  }

  /** Colour the tokens, each with a share of 1, and 0 where there is none. */
  shade(shares) {
    for (const [index, span] of this.#spans.entries()) span.style.setProperty("--share", shares[index] ?? 0);
  }

  choose(index) {
    if (this.#chosen !== null) this.#spans[this.#chosen].classList.remove("chosen");
    this.#chosen = index;
    if (index !== null) this.#spans[index].classList.add("chosen");
    this.#point(index);
  }

  #point(index) {
    this.show(index, index === null ? null : this.#spans[index]);
  }

  #key(event) {
    const last = this.#spans.length - 1;
    const at = this.#chosen ?? -1;
    const goals = {
      ArrowRight: () => Math.min(at + 1, last),
      ArrowLeft: () => Math.max(at - 1, 0),
      ArrowDown: () => this.#inNextLine(at, 1),
      ArrowUp: () => this.#inNextLine(at, -1),
      Home: () => 0,
      End: () => last,
      Escape: () => null,
    };
    if (!(event.key in goals) || last < 0) return;
    event.preventDefault();
    const goal = goals[event.key]();
    this.choose(goal);
    if (goal === null) return;
    this.#spans[goal].scrollIntoView({ block: "nearest" });
    byId("announcer").textContent = this.words(goal);
  }

  /** Index of the token nearest to that at `from` in the line below (way 1) or above (way -1). */
  #inNextLine(from, way) {
    if (from < 0) return 0;
    const here = this.#spans[from].getBoundingClientRect();
    let best = from;
    let least = Infinity;
    let line = null;
    for (let index = from + way; index >= 0 && index < this.#spans.length; index += way) {
      const place = this.#spans[index].getBoundingClientRect();
      if (Math.abs(place.top - here.top) < here.height / 2) continue;
      line ??= place.top;
      if (Math.abs(place.top - line) >= here.height / 2) break;
      const distance = Math.abs(place.left - here.left);
      if (distance < least) [least, best] = [distance, index];
    }
    return best;
  }
}
