"""GPT-2 in the words of this project: which config is which model, and which of its weights is which. Pure.

GPT-2 is pre-norm with learned positions, biases everywhere but in its decoder, GELU by tanh, and one matrix that embeds
and decodes (Radford et al. 2019). Its fused queries, keys and values lie as those of `nn.fused` do, and its other
matrices are stored as (in, out).
"""

import json
from collections.abc import Mapping
from typing import Any

from gptmodel.config import ModelParams
from gptmodel.errors import CheckpointError
from gptmodel.export.classes import ACTIVATIONS, LAYERNORM_EPS

SIZES = {"n_positions": "block_size", "n_embd": "n_embd", "n_layer": "n_layer", "n_head": "n_head"}
LARGEST = 1 << 16
FIXED = {
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
    "reorder_and_upcast_attn": False,
    "add_cross_attention": False,
    "layer_norm_epsilon": LAYERNORM_EPS,
}
"""What a config may say otherwise, and this project computes so; also what holds where a config is silent."""
OWN_ACTIVATIONS = {name: own for own, name in ACTIVATIONS.items()} | {"gelu_pytorch_tanh": "gelu_tanh"}
MODULES = {"encoder": "wte", "position": "wpe", "ln_f": "ln_f"}
BLOCK_MODULES = {
    "ln1": "ln_1",
    "sa.qkv": "attn.c_attn",
    "sa.proj": "attn.c_proj",
    "ln2": "ln_2",
    "ffwd.net.0": "mlp.c_fc",
    "ffwd.net.2": "mlp.c_proj",
}
MASKS = ("attn.bias", "attn.masked_bias")
"""Of each block, in older files: constants that hide the future."""
DECODER = "lm_head.weight"


def own_params(config: Mapping[str, Any]) -> ModelParams:
    """Return the sizes and switches of a GPT-2; CheckpointError names the key that no model of this project has."""
    if config.get("model_type") != "gpt2":
        raise CheckpointError(f"model_type = {_shown(config.get('model_type'))}: only gpt2 can be imported")
    for key in SIZES:
        if type(config.get(key)) is not int or not 0 < config[key] <= LARGEST:
            raise CheckpointError(f"{key} = {_shown(config.get(key))}: has to be a whole number from 1 to {LARGEST}")
    n_embd, n_inner = config["n_embd"], config.get("n_inner")
    if n_embd % config["n_head"]:
        raise CheckpointError(f"n_head = {config['n_head']}: does not divide n_embd = {n_embd}")
    if n_inner not in (None, 4 * n_embd):
        raise CheckpointError(f"n_inner = {_shown(n_inner)}: only four times n_embd, {4 * n_embd}, can be imported")
    for key, value in FIXED.items():
        if config.get(key, value) != value:
            raise CheckpointError(f"{key} = {_shown(config[key])}: only {_shown(value)} can be imported")
    activation, tied = config.get("activation_function", "gelu_new"), config.get("tie_word_embeddings", True)
    if not isinstance(activation, str) or activation not in OWN_ACTIVATIONS:
        names = ", ".join(OWN_ACTIVATIONS)
        raise CheckpointError(f"activation_function = {_shown(activation)}: only {names} can be imported")
    if type(tied) is not bool:
        raise CheckpointError(f"tie_word_embeddings = {_shown(tied)}: has to be true or false")
    return ModelParams.model_validate(
        {
            **ModelParams.defaults(),
            **{own: config[key] for key, own in SIZES.items()},
            "norm": "pre",
            "position": "learned",
            "activation": OWN_ACTIVATIONS[activation],
            "qkv_bias": True,
            "scale_embedding": False,
            "tie_embeddings": tied,
            "decoder_bias": False,
        }
    )


def _shown(value: Any) -> str:
    """Return a value of a config on one line of bounded length."""
    return " ".join((value if isinstance(value, str) else json.dumps(value)).split())[:60]


def their_name(own: str) -> tuple[str, bool]:
    """Return what GPT-2 calls a weight, and whether its matrix is turned there."""
    if own == "decoder.weight":
        return DECODER, False
    module, _, kind = own.rpartition(".")
    if module in MODULES:
        return f"transformer.{MODULES[module]}.{kind}", False
    _, layer, part = module.split(".", 2)
    turned = kind == "weight" and not part.startswith("ln")
    return f"transformer.h.{layer}.{BLOCK_MODULES[part]}.{kind}", turned


def is_mask(name: str) -> bool:
    """Tell whether a weight's name is that of a constant."""
    parts = name.split(".", 3)
    return len(parts) == 4 and parts[:2] == ["transformer", "h"] and parts[3] in MASKS
