"""A model's weights as other programs want them: fused, turned to their layouts, with folded scale and bias. Pure.

Shapes: C n_embd, V vocab, nh heads, hs head size.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from gptmodel.config import ModelParams
from gptmodel.errors import ExportError

Weights = dict[str, Tensor]
KINDS = ("weight", "bias")


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
        return _decoder(self._params, self._state)

    def query(self, layer: int) -> Weights:
        """Weight (C, C) and bias (C,) of the queries of all heads."""
        return {kind: tensor.flatten(0, 1) for kind, tensor in self._rotating(layer, "query").items()}

    def key(self, layer: int) -> Weights:
        """Weight (C, C) and bias (C,) of the keys of all heads."""
        return {kind: tensor.flatten(0, 1) for kind, tensor in self._rotating(layer, "key").items()}

    def value(self, layer: int) -> Weights:
        """Weight (C, C) and bias (C,) of the values of all heads."""
        return {kind: tensor.flatten(0, 1) for kind, tensor in self._heads(layer, "value").items()}

    def in_turn(self, layer: int) -> Weights:
        """Queries of all heads, then keys, then values: weight (3 * C, C) and bias (3 * C,)."""
        parts = (self.query(layer), self.key(layer), self.value(layer))
        return {kind: torch.cat([part[kind] for part in parts]) for kind in KINDS}

    def by_heads(self, layer: int) -> Weights:
        """Query, key and value of the first head, then of the second, and so on: weight (3 * C, C), bias (3 * C,)."""
        parts = (self._rotating(layer, "query"), self._rotating(layer, "key"), self._heads(layer, "value"))
        # (nh, 3, hs, C) -> (3 * C, C)
        return {kind: torch.stack([part[kind] for part in parts], dim=1).flatten(0, 2) for kind in KINDS}

    def module(self, name: str) -> Weights:
        """Weight and, where there is one, bias of a module such as `blocks.0.ln1`."""
        names = {kind: f"{name}.{kind}" for kind in KINDS}
        return {kind: self._state[full] for kind, full in names.items() if full in self._state}

    def _heads(self, layer: int, part: str) -> Weights:
        """Return weight (nh, hs, C) and bias (nh, hs) of all heads; zeros where the model has no such bias."""
        modules = [self.module(f"blocks.{layer}.sa.heads.{head}.{part}") for head in range(self._params.n_head)]
        weight = torch.stack([module["weight"] for module in modules])
        bias = torch.stack([module["bias"] for module in modules]) if self._params.qkv_bias else weight.new_zeros(())
        return {"weight": weight, "bias": bias.expand(weight.shape[:2])}

    def _rotating(self, layer: int, part: str) -> Weights:
        """Return the heads of queries or keys; rotary turns pairs side by side here, and halves elsewhere.

        Rows 0, 2, 4, ... come first then, and 1, 3, 5, ... behind them: the products of queries and keys stay the same.
        """
        heads = self._heads(layer, part)
        if self._params.position != "rotary":
            return heads
        return {kind: torch.cat((tensor[:, 0::2], tensor[:, 1::2]), dim=1) for kind, tensor in heads.items()}


def _decoder(params: ModelParams, state: Mapping[str, Tensor]) -> Tensor:
    return state["encoder.weight" if params.tie_embeddings else "decoder.weight"]


def named(name: str, parts: Weights) -> Weights:
    """Return the weight and the bias of a module under another name."""
    return {f"{name}.{key}": tensor for key, tensor in parts.items()}


def bias_fits(params: ModelParams, vocab_size: int) -> bool:
    """Whether there is no decoder bias, or a layer normalisation in the last place can take it over."""
    return not params.decoder_bias or vocab_size <= params.n_embd


def without_decoder_bias(params: ModelParams, state: Mapping[str, Tensor]) -> Weights:
    """Return weights of the same logits without a decoder bias, which no stock class has.

    The bias goes into that of the last layer normalisation: a b with W b = c, where W (V, C) is the decoder and c its
    bias. There is one for any c only where the vocabulary is no larger than the width. Raises ExportError elsewhere.
    """
    weights = {name: tensor.detach().cpu() for name, tensor in state.items()}
    if not params.decoder_bias:
        return weights
    bias, W = weights.pop("decoder.bias"), _decoder(params, weights)  # (V,), (V, C)
    V, C = W.shape
    last = "ln_f.bias" if params.norm == "pre" else f"blocks.{params.n_layer - 1}.ln2.bias"
    if last not in weights or not bias_fits(params, V):
        where = f"{V} numbers do not fit the {C} of the last norm" if last in weights else "rmsnorm cannot take it over"
        raise ExportError(
            f"model.decoder_bias = true: other programs have no such bias, and {where}; train with "
            "-S model.decoder_bias=false, or export onnx or safetensors"
        )
    folded = torch.linalg.lstsq(W.double(), bias.double()).solution  # (C,)
    weights[last] = (weights[last].double() + folded).float()
    return weights
