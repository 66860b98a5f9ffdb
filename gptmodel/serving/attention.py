"""Where a layer looks: the attention weights of its heads, read off the tutorial's form of the model.

Shapes: T time, nh heads.
"""

from collections.abc import Generator, Sequence

import torch
from torch import Tensor, nn

from gptmodel.language_model import LanguageModel
from gptmodel.nn.transformer import TransformerModel


def attention_weights(model: LanguageModel, ids: Sequence[int], layer: int) -> Generator[Tensor, None, None]:
    """Yield once the attention weights (nh, T, T) of a layer, counted from 0, for at most block_size token ids.

    A row belongs to the position that looks, and sums to 1 over those it looks at; the future has 0. The tutorial's
    heads have the weights of their fused twin, and hand their attention to a dropout, where it is seen.
    """
    network = model.transformer
    device = network.encoder.weight.device
    with torch.random.fork_rng(devices=[]):
        twin = TransformerModel(network.params, network.vocab_size, fused=False)
    twin.load_state_dict(network.state_dict())
    twin.to(device).eval()
    seen: list[Tensor] = []

    def look(_module: nn.Module, inputs: tuple[Tensor, ...], _output: Tensor) -> None:
        seen.append(inputs[0][0])  # (T, T)

    for head in twin.blocks[layer].sa.heads:  # type: ignore[union-attr]
        head.dropout.register_forward_hook(look)
    with torch.inference_mode():
        twin(torch.tensor([ids], device=device))
    yield torch.stack(seen)  # (nh, T, T)
