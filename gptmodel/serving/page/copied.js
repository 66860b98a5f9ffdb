// The tab Copied: what of a text stands in the text that the model was trained on.

import { count, element, listing, percent, quoted } from "./elements.js";
import { askWhole } from "./server.js";

const LONG = 60; // characters at which a colour is full

export async function findCopied(pane, { model, text, signal }) {
  const { spans, longest, first_mb: firstMb } = await askWhole("api/copied", { model: model.id, text }, signal);
  const characters = Array.from(text); // the server counts characters, not UTF-16 units
  const passage = (start, end) => characters.slice(start, end).join("");
  const box = element("div", { className: "text copies" });
  let at = 0; // spans may overlap
  let copied = 0;
  for (const { start, end, length } of spans) {
    if (end <= at) continue;
    const begin = Math.max(start, at);
    const title = `${count(length, "character")} in one piece`;
    const mark = element("mark", { textContent: passage(begin, end), title });
    mark.style.setProperty("--share", Math.min(1, length / LONG));
    box.append(passage(at, begin), mark);
    at = end;
    copied += end - begin;
  }
  box.append(passage(at));
  const share = characters.length ? copied / characters.length : 0;
  const searched = firstMb === undefined ? "" : ` · looked for in the first ${firstMb} MB of the training text`;
  pane.figures(`longest passage: ${count(longest, "character")} · ${percent(share)} of the text is marked${searched}`);
  pane.body.append(box);
  const order = spans.toSorted((one, other) => other.length - one.length);
  const item = ({ start, end, length }) => [
    element("span", { className: "quote", textContent: quoted(passage(start, end)) }),
    count(length, "character"),
  ];
  if (order.length) pane.body.append(listing("Longest passages", order, item));
}
