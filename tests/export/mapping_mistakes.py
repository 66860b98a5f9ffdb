"""Mistakes that a mapping of weights could have: each has to show when an export is read back, whatever its class."""

from typing import Any

import torch

from gptmodel.export.weights import ModelWeights, Weights

AS_IS = {key: value for key, value in vars(ModelWeights).items() if not key.startswith("__")}


def heads(**others: str) -> Any:
    """Another part of the attention in the place of one."""
    return lambda model, layer, part: AS_IS["_heads"](model, layer, others.get(part, part))


def modules(**others: str) -> Any:
    """Another module in the place of one, by the last part of the name."""

    def module(model: ModelWeights, name: str) -> Weights:
        where, dot, last = name.rpartition(".")
        parts = AS_IS["module"](model, f"{where}{dot}{others.get(last, last)}")
        return {kind: tensor.clone() for kind, tensor in parts.items()}  # no file holds one tensor under two names

    return module


def blocks_exchanged(model: ModelWeights, name: str) -> Weights:
    first, second = "blocks.0.", "blocks.1."
    other = first if name.startswith(second) else second
    return AS_IS["module"](model, name.replace(first, other).replace(second, other))


def feed_forward_without_biases(model: ModelWeights, name: str) -> Weights:
    parts = AS_IS["module"](model, name)
    return {**parts, "bias": torch.zeros_like(parts["bias"])} if ".ffwd." in name else parts


def output_turned(model: ModelWeights, name: str) -> Weights:
    """The one matrix of a block that fits either way."""
    parts = AS_IS["module"](model, name)
    return {**parts, "weight": parts["weight"].t()} if name.endswith("sa.proj") else parts


def without_biases(model: ModelWeights, layer: int, part: str) -> Weights:
    parts = AS_IS["_heads"](model, layer, part)
    return {**parts, "bias": torch.zeros_like(parts["bias"])}


def heads_in_another_order(model: ModelWeights, layer: int, part: str) -> Weights:
    return {kind: tensor.flip(0) for kind, tensor in AS_IS["_heads"](model, layer, part).items()}


def biases_not_in_halves(model: ModelWeights, layer: int, part: str) -> Weights:
    return {**AS_IS["_rotating"](model, layer, part), "bias": AS_IS["_heads"](model, layer, part)["bias"]}


def values_in_halves_too(model: ModelWeights, layer: int, part: str) -> Weights:
    parts = AS_IS["_heads"](model, layer, part)
    halves = {kind: torch.cat((tensor[:, 0::2], tensor[:, 1::2]), dim=1) for kind, tensor in parts.items()}
    return halves if part == "value" else parts


UNSCALED = property(lambda model: model._state["encoder.weight"])
MISTAKES: dict[str, tuple[str, Any]] = {
    "query and key exchanged": ("_heads", heads(query="key", key="query")),
    "keys as values": ("_heads", heads(value="key")),
    "heads in another order": ("_heads", heads_in_another_order),
    "biases of the attention left out": ("_heads", without_biases),
    "the output of the attention turned": ("module", output_turned),
    "biases of the feed-forward left out": ("module", feed_forward_without_biases),
    "the blocks exchanged": ("module", blocks_exchanged),
    "the norms of a block exchanged": ("module", modules(ln1="ln2", ln2="ln1")),
    "the scale left out": ("embedding", UNSCALED),
    "the matrix of the embedding gives the logits": ("decoder", UNSCALED),
}
"""Of every class: what of `ModelWeights` is another, and what it is then."""
PRE_NORM: dict[str, tuple[str, Any]] = {"a norm of a block as the last one": ("module", modules(ln_f="blocks.1.ln2"))}
LEARNED: dict[str, tuple[str, Any]] = {
    "positions one late": ("positions", property(lambda model: AS_IS["positions"].fget(model).roll(1, dims=0)))
}
ROTATING: dict[str, tuple[str, Any]] = {
    "pairs not put into halves": ("_rotating", AS_IS["_heads"]),
    "values put into halves too": ("_heads", values_in_halves_too),
    "biases of pairs not put into halves": ("_rotating", biases_not_in_halves),
}
WHOLE: dict[str, Any] = {"decoder_bias": False, "qkv_bias": True, "scale_embedding": True, "tie_embeddings": False}
"""A model that has all that a mistake can be made with."""
