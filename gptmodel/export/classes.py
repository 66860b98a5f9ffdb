"""The stock classes of transformers that hold this project's models: the config and the weights of each. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gptmodel.config import ModelParams
from gptmodel.export.weights import ModelWeights, Weights, named
from gptmodel.nn.embedding import ROTARY_BASE

LAYERNORM_EPS = 1e-5  # nn.LayerNorm's
RMSNORM_EPS = torch.finfo(torch.float32).eps  # F.rms_norm's
ACTIVATIONS = {"relu": "relu", "gelu": "gelu", "gelu_tanh": "gelu_new", "relu2": "relu2"}
"""What transformers calls each."""
OPT_OFFSET = 2
"""OPT reads the row of a position this much further on."""


@dataclass(frozen=True)
class StockClass:
    """What turns a model into one of a stock class."""

    name: str
    config: Callable[[ModelParams], dict[str, Any]]
    weights: Callable[[ModelParams, ModelWeights], Weights]
    """All but the matrix that gives the logits."""
    decoder: str = "lm_head.weight"
    """The name of that matrix."""


def _layers(params: ModelParams, prefix: str, layer: Callable[[int], Mapping[str, Tensor]]) -> Weights:
    return {f"{prefix}.{n}.{name}": tensor for n in range(params.n_layer) for name, tensor in layer(n).items()}


def _turned(parts: Mapping[str, Tensor]) -> Weights:
    """Return a linear map in the layout of GPT-2's Conv1D: its weight is (in, out)."""
    return {key: tensor.t() if tensor.dim() == 2 else tensor for key, tensor in parts.items()}


def _gpt2_config(params: ModelParams) -> dict[str, Any]:
    return {
        "model_type": "gpt2",
        "n_positions": params.block_size,
        "n_embd": params.n_embd,
        "n_layer": params.n_layer,
        "n_head": params.n_head,
        "n_inner": 4 * params.n_embd,
        "activation_function": ACTIVATIONS[params.activation],
        "layer_norm_epsilon": LAYERNORM_EPS,
        **dict.fromkeys(("embd_pdrop", "resid_pdrop"), params.dropout),
        "attn_pdrop": params.dropout_of_attention(params.dropout),
    }


def _gpt2_weights(params: ModelParams, model: ModelWeights) -> Weights:
    def layer(n: int) -> Weights:
        return {
            **named("ln_1", model.module(f"blocks.{n}.ln1")),
            **named("attn.c_attn", _turned(model.in_turn(n))),
            **named("attn.c_proj", _turned(model.module(f"blocks.{n}.sa.proj"))),
            **named("ln_2", model.module(f"blocks.{n}.ln2")),
            **named("mlp.c_fc", _turned(model.module(f"blocks.{n}.ffwd.net.0"))),
            **named("mlp.c_proj", _turned(model.module(f"blocks.{n}.ffwd.net.2"))),
        }

    return {
        "transformer.wte.weight": model.embedding,
        "transformer.wpe.weight": model.positions,
        **_layers(params, "transformer.h", layer),
        **named("transformer.ln_f", model.module("ln_f")),
    }


def _sizes(params: ModelParams) -> dict[str, Any]:
    """Return the keys that the younger classes share."""
    return {
        "hidden_size": params.n_embd,
        "num_hidden_layers": params.n_layer,
        "num_attention_heads": params.n_head,
        "max_position_embeddings": params.block_size,
    }


def _gpt_neox_config(params: ModelParams) -> dict[str, Any]:
    return {
        "model_type": "gpt_neox",
        **_sizes(params),
        "intermediate_size": 4 * params.n_embd,
        "hidden_act": ACTIVATIONS[params.activation],
        "layer_norm_eps": LAYERNORM_EPS,
        "use_parallel_residual": False,
        "rotary_pct": 1.0,  # which the class does not write itself, and whose default is a quarter
        "rotary_emb_base": ROTARY_BASE,
        "attention_dropout": params.dropout_of_attention(params.dropout),
        "hidden_dropout": params.dropout,
    }


def _gpt_neox_weights(params: ModelParams, model: ModelWeights) -> Weights:
    def layer(n: int) -> Weights:
        return {
            **named("input_layernorm", model.module(f"blocks.{n}.ln1")),
            **named("attention.query_key_value", model.by_heads(n)),
            **named("attention.dense", model.module(f"blocks.{n}.sa.proj")),
            **named("post_attention_layernorm", model.module(f"blocks.{n}.ln2")),
            **named("mlp.dense_h_to_4h", model.module(f"blocks.{n}.ffwd.net.0")),
            **named("mlp.dense_4h_to_h", model.module(f"blocks.{n}.ffwd.net.2")),
        }

    return {
        "gpt_neox.embed_in.weight": model.embedding,
        **_layers(params, "gpt_neox.layers", layer),
        **named("gpt_neox.final_layer_norm", model.module("ln_f")),
    }


def _arcee_config(params: ModelParams) -> dict[str, Any]:
    return {
        "model_type": "arcee",
        **_sizes(params),
        "num_key_value_heads": params.n_head,
        "head_dim": params.n_embd // params.n_head,
        "intermediate_size": 4 * params.n_embd,
        "hidden_act": ACTIVATIONS[params.activation],
        "rms_norm_eps": RMSNORM_EPS,
        "rope_parameters": {"rope_type": "default", "rope_theta": ROTARY_BASE},
        "attention_bias": True,
        "mlp_bias": True,
        "attention_dropout": params.dropout_of_attention(params.dropout),
    }


def _arcee_weights(params: ModelParams, model: ModelWeights) -> Weights:
    def layer(n: int) -> Weights:
        return {
            **named("input_layernorm", model.module(f"blocks.{n}.ln1")),
            **_separate_attention(n, model),
            **named("self_attn.o_proj", model.module(f"blocks.{n}.sa.proj")),
            **named("post_attention_layernorm", model.module(f"blocks.{n}.ln2")),
            **named("mlp.up_proj", model.module(f"blocks.{n}.ffwd.net.0")),
            **named("mlp.down_proj", model.module(f"blocks.{n}.ffwd.net.2")),
        }

    return {
        "model.embed_tokens.weight": model.embedding,
        **_layers(params, "model.layers", layer),
        **named("model.norm", model.module("ln_f")),
    }


def _opt_config(params: ModelParams) -> dict[str, Any]:
    return {
        "model_type": "opt",
        **_sizes(params),
        "word_embed_proj_dim": params.n_embd,
        "ffn_dim": 4 * params.n_embd,
        "activation_function": ACTIVATIONS[params.activation],
        "do_layer_norm_before": False,
        "dropout": params.dropout,
        "attention_dropout": params.dropout_of_attention(params.dropout),
    }


def _opt_weights(params: ModelParams, model: ModelWeights) -> Weights:
    def layer(n: int) -> Weights:
        return {
            **_separate_attention(n, model),
            **named("self_attn.out_proj", model.module(f"blocks.{n}.sa.proj")),
            **named("self_attn_layer_norm", model.module(f"blocks.{n}.ln1")),
            **named("fc1", model.module(f"blocks.{n}.ffwd.net.0")),
            **named("fc2", model.module(f"blocks.{n}.ffwd.net.2")),
            **named("final_layer_norm", model.module(f"blocks.{n}.ln2")),
        }

    unread = torch.zeros(OPT_OFFSET, params.n_embd)
    return {
        "model.decoder.embed_tokens.weight": model.embedding,
        "model.decoder.embed_positions.weight": torch.cat((unread, model.positions)),
        **_layers(params, "model.decoder.layers", layer),
    }


def _separate_attention(n: int, model: ModelWeights) -> Weights:
    return {
        **named("self_attn.q_proj", model.query(n)),
        **named("self_attn.k_proj", model.key(n)),
        **named("self_attn.v_proj", model.value(n)),
    }


_GPT2 = StockClass("GPT2LMHeadModel", _gpt2_config, _gpt2_weights)
_OPT = StockClass("OPTForCausalLM", _opt_config, _opt_weights)
CLASSES = {
    ("pre", "layernorm", "learned"): _GPT2,
    ("pre", "layernorm", "none"): _GPT2,
    ("pre", "layernorm", "rotary"): StockClass(
        "GPTNeoXForCausalLM", _gpt_neox_config, _gpt_neox_weights, "embed_out.weight"
    ),
    ("pre", "rmsnorm", "rotary"): StockClass("ArceeForCausalLM", _arcee_config, _arcee_weights),
    ("post", "layernorm", "learned"): _OPT,
    ("post", "layernorm", "none"): _OPT,
}
"""The class of each norm, norm_type and position: all else that a model may have is in each of them."""
