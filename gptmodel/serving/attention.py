"""Where a layer looks: the attention weights of its heads, read off the tutorial's form of the attention.

Shapes: T time, nh heads.
"""

import math
from collections.abc import Generator, Sequence

import torch
from torch import Tensor, nn

from gptmodel.language_model import LanguageModel
from gptmodel.nn.attention import MultiHeadAttention

MOST_WEIGHTS = 1 << 20
"""Of all heads of a layer: more take seconds to encode and to draw."""


def most_tokens(n_head: int) -> int:
    """Return how many tokens a layer of so many heads is asked about at once."""
    return math.isqrt(MOST_WEIGHTS // n_head)


def attention_weights(model: LanguageModel, ids: Sequence[int], layer: int) -> Generator[Tensor, None, None]:
    """Yield once the attention weights (nh, T, T) of a layer, counted from 0, for at most block_size token ids.

    A row belongs to the position that looks, and sums to 1 over those it looks at; the future has 0. The tutorial's
    heads have the weights of their fused twin, and hand their attention to a dropout, where it is seen.
    """
    network = model.transformer.eval()
    params, block = network.params, network.blocks[layer]
    sizes = {"head_size": params.n_embd // params.n_head, "block_size": len(ids)}
    with torch.random.fork_rng(devices=[]):
        twin = MultiHeadAttention(params.n_head, **sizes, switches=params)
    twin.load_state_dict(block.sa.state_dict())  # type: ignore[union-attr]
    twin.to(network.encoder.weight.device).eval()
    seen: list[Tensor] = []

    def look(_module: nn.Module, inputs: tuple[Tensor, ...], _output: Tensor) -> None:
        seen.append(inputs[0][0])  # (T, T)

    for head in twin.heads:
        head.dropout.register_forward_hook(look)  # type: ignore[union-attr]
    with torch.inference_mode():
        x = network.blocks[:layer](network.embed(torch.tensor([ids], device=network.encoder.weight.device)))
        twin(block.ln1(x) if block.pre else x)  # type: ignore[operator]
    yield torch.stack(seen)  # (nh, T, T)
