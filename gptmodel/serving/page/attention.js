// The tab Attention: where each head of a layer looks.

import { count, element, percent, radios, visible } from "./elements.js";
import { askWhole } from "./server.js";
import { TokenText } from "./tokens.js";

export async function readAttention(pane, { model, text, signal }) {
  const { n_layer: depth, block_size: most } = model;
  const view = element("div", { className: "view" });
  const chosen = { layer: 0, head: 0, asking: null };
  const show = async (layer, stopped) => {
    chosen.layer = layer;
    const { tokens, heads } = await askWhole("api/attention", { model: model.id, text, layer }, stopped);
    if (chosen.layer !== layer) return; // another one was chosen meanwhile
    const all = tokens.length < most ? "" : ", which is all that the model sees at once";
    pane.figures(count(tokens.length, "token") + all);
    showHeads(view, tokens, heads, chosen);
  };
  const numbers = Array.from({ length: depth }, (_, layer) => `${layer + 1}`);
  const layers = numbers.map((content) => ({ name: `Layer ${content}`, content }));
  pane.body.append(radios("layer", layers, 0, (layer) => pane.attempt(() => show(layer))), view);
  await show(0, signal);
}

/** A text in which the tokens that one of them looks at are coloured. */
class AttentionText extends TokenText {
  constructor(tokens, look, words) {
    super("Text by attention");
    this.look = look;
    this.words = words;
    for (const token of tokens) this.append({ text: token });
  }

  show(index) {
    if (index !== null) this.look(index);
  }
}

/** Fill `view` with the heads of a layer, weights in thousandths: maps of all, and the text by the one that is chosen.
 *
 * `chosen` has the number of the head and of the token that looks, at first the last.
 */
function showHeads(view, tokens, heads, chosen) {
  chosen.asking ??= tokens.length - 1;
  const draw = (change) => {
    const { head, asking } = Object.assign(chosen, change);
    const weights = heads[head][asking];
    read.shade(weights.map((weight) => weight / Math.max(...weights)));
    read.mark(asking);
    for (const map of maps) map.draw(asking);
    summary.textContent = words(asking);
  };
  const words = (index) => {
    const places = heads[chosen.head][index].map((weight, at) => ({ weight, at }));
    const strongest = places.sort((one, other) => other.weight - one.weight).slice(0, 4);
    const where = (at) => (at === index ? "itself" : `${index - at} back`);
    const part = ({ weight, at }) => `“${visible(tokens[at])}” (${where(at)}) ${percent(weight / 1000)}`;
    return `“${visible(tokens[index])}” looks at ${strongest.map(part).join(", ")}`;
  };
  const read = new AttentionText(tokens, (asking) => draw({ asking }), words);
  const summary = element("p", { className: "looks" });
  const maps = heads.map((weights) => new AttentionMap(weights, (asking) => draw({ asking })));
  const options = maps.map((map, number) => ({ name: `Head ${number + 1}`, content: map.canvas }));
  const choice = radios("head", options, chosen.head, (head) => draw({ head }));
  choice.classList.add("maps");
  view.replaceChildren(choice, read.box, summary);
  draw({});
}

/** A square of all weights of a head: a row for each token that looks, a column for each that is looked at. */
class AttentionMap {
  constructor(weights, point) {
    this.weights = weights;
    this.cell = Math.max(1, Math.round(320 / weights.length)); // pixels
    const side = weights.length * this.cell;
    this.canvas = element("canvas", { width: side, height: side });
    this.canvas.addEventListener("pointermove", ({ offsetY }) => {
      const row = Math.floor((offsetY / this.canvas.clientHeight) * weights.length);
      point(Math.min(weights.length - 1, Math.max(0, row)));
    });
  }

  draw(asking) {
    const { canvas, cell } = this;
    const pen = canvas.getContext("2d");
    const colour = getComputedStyle(canvas).color;
    if (this.colour !== colour) this.paint(colour);
    pen.clearRect(0, 0, canvas.width, canvas.height);
    pen.imageSmoothingEnabled = false;
    pen.drawImage(this.cells, 0, 0, canvas.width, canvas.height);
    pen.strokeStyle = colour;
    pen.strokeRect(0.5, asking * cell + 0.5, (asking + 1) * cell - 1, cell - 1);
  }

  /** Paint all cells, a pixel each: once, and again when the page turns dark or light. */
  paint(colour) {
    const side = this.weights.length;
    this.colour = colour;
    this.cells = element("canvas", { width: side, height: side });
    const pen = this.cells.getContext("2d");
    const image = pen.createImageData(side, side);
    for (const [row, columns] of this.weights.entries()) {
      const strongest = Math.max(...columns); // as in the text: a colour is full at the token that is looked at most
      for (let column = 0; column <= row; column++) {
        image.data[4 * (row * side + column) + 3] = 255 * (0.04 + (0.96 * columns[column]) / strongest); // opacity
      }
    }
    pen.putImageData(image, 0, 0);
    pen.globalCompositeOperation = "source-in"; // colours what is there
    pen.fillStyle = colour;
    pen.fillRect(0, 0, side, side);
  }
}
