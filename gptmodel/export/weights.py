"""A model's weights as other programs want them: fused, turned to their layouts, with folded scale and bias. Pure.

Shapes: C n_embd, V vocab, nh heads, hs head size.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from gptmodel.config import ModelParams
from gptmodel.errors import ExportError

Weights = dict[str, Tensor]


class ModelWeights:
    """The state dict of a transformer by the parts that all decoders have in common."""

    def __init__(self, params: ModelParams, state: Mapping[str, Tensor]) -> None:
        self._params, self._state = params, state

    @property
    def embedding(self) -> Tensor:
        """Token embedding (V, C), with `scale_embedding` folded in."""
        weight = self._state["encoder.weight"]
        return weight * self._params.n_embd**0.5 if self._params.scale_embedding else weight

    @property
    def positions(self) -> Tensor:
        """Learned positions (block_size, C); zeros where the model has none."""
        zeros = torch.zeros(self._params.block_size, self._params.n_embd)
        return self._state["position.weight"] if self._params.position == "learned" else zeros

    @property
    def decoder(self) -> Tensor:
        """The matrix (V, C) that gives the logits."""
        return self._state["decoder.weight"]

    def query(self, layer: int) -> Tensor:
        """Queries of all heads (C, C)."""
        return self._rotating(layer, "query").flatten(0, 1)

    def key(self, layer: int) -> Tensor:
        """Keys of all heads (C, C)."""
        return self._rotating(layer, "key").flatten(0, 1)

    def value(self, layer: int) -> Tensor:
        """Values of all heads (C, C)."""
        return self._heads(layer, "value").flatten(0, 1)

    def by_heads(self, layer: int) -> Tensor:
        """Query, key and value of the first head, then of the second, and so on (3 * C, C)."""
        parts = (self._rotating(layer, "query"), self._rotating(layer, "key"), self._heads(layer, "value"))
        return torch.stack(parts, dim=1).flatten(0, 2)  # (nh, 3, hs, C) -> (3 * C, C)

    def module(self, name: str) -> Weights:
        """Weight and, where there is one, bias of a module such as `blocks.0.ln1`."""
        names = {key: f"{name}.{key}" for key in ("weight", "bias")}
        return {key: self._state[full] for key, full in names.items() if full in self._state}

    def _heads(self, layer: int, part: str) -> Tensor:
        heads = range(self._params.n_head)
        return torch.stack([self._state[f"blocks.{layer}.sa.heads.{head}.{part}.weight"] for head in heads])

    def _rotating(self, layer: int, part: str) -> Tensor:
        """Return the heads (nh, hs, C) of queries or keys; rotary turns pairs side by side here, and halves elsewhere.

        Rows 0, 2, 4, ... come first then, and 1, 3, 5, ... behind them: the products of queries and keys stay the same.
        """
        heads = self._heads(layer, part)
        if self._params.position != "rotary":
            return heads
        return torch.cat((heads[:, 0::2], heads[:, 1::2]), dim=1)


def named(name: str, parts: Weights) -> Weights:
    """Return the weight and the bias of a module under another name."""
    return {f"{name}.{key}": tensor for key, tensor in parts.items()}


def without_decoder_bias(params: ModelParams, state: Mapping[str, Tensor]) -> Weights:
    """Return weights of the same logits without a decoder bias, which no stock class has.

    The bias goes into that of the last layer normalisation: a b with W b = c, where W (V, C) is the decoder and c its
    bias. There is one for any c only where the vocabulary is no larger than the width. Raises ExportError elsewhere.
    """
    weights = {name: tensor.detach().cpu() for name, tensor in state.items()}
    if not params.decoder_bias:
        return weights
    bias, W = weights.pop("decoder.bias"), weights["decoder.weight"]  # (V,), (V, C)
    V, C = W.shape
    last = "ln_f.bias" if params.norm == "pre" else f"blocks.{params.n_layer - 1}.ln2.bias"
    if last not in weights or V > C:
        where = f"{V} numbers do not fit the {C} of the last norm" if last in weights else "rmsnorm cannot take it over"
        raise ExportError(
            f"model.decoder_bias = true: other programs have no such bias, and {where}; train with "
            "-S model.decoder_bias=false, or export onnx or safetensors"
        )
    folded = torch.linalg.lstsq(W.double(), bias.double()).solution  # (C,)
    weights[last] = (weights[last].double() + folded).float()
    return weights
