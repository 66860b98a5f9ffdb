"""Drawing tokens from a model one after the other. Shapes: B batch, T time, V vocab."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from gptmodel.config import SampleParams
from gptmodel.determinism import Stream, torch_generator
from gptmodel.errors import CheckpointError, DataError
from gptmodel.sampling.logits import next_probabilities
from gptmodel.tokenizers.base import Tokenizer


@torch.no_grad()
def generate(model: nn.Module, idx: Tensor, params: SampleParams, generator: torch.Generator) -> Iterator[Tensor]:
    """Continue token ids (B, T) of any length T > 0, yielding the next ids (B,) `params.max_new_tokens` times.

    The model sees the last block_size ids. Random numbers come from `generator` alone, which is on the device of idx.
    """
    block_size: int = model.params.block_size  # type: ignore[union-attr,assignment]
    model.eval()
    for _ in range(params.max_new_tokens):
        logits = model(idx[:, -block_size:])[:, -1]  # (B, V)
        probabilities = next_probabilities(
            logits, temperature=params.temperature, top_k=params.top_k, top_p=params.top_p
        )
        if not torch.isfinite(probabilities).all():
            raise CheckpointError("the model's output is not finite: train it again, at a lower learning rate")
        following = torch.multinomial(probabilities, 1, generator=generator)  # (B, 1)
        idx = torch.cat((idx[:, -block_size:], following), dim=1)  # (B, T + 1)
        yield following[:, 0]


def sample_texts(
    model: nn.Module,
    tokenizer: Tokenizer,
    prompt: str,
    params: SampleParams,
    device: torch.device,
    show: Callable[[str], None],
) -> list[str]:
    """Return `num_samples` continuations with their prompt; the first is handed to `show` piece by piece.

    Raises DataError for an empty prompt and for a character the model does not know.
    """
    ids = tokenizer.encode(prompt, params.on_unknown)
    if not ids:
        raise DataError("the prompt is empty: give at least one character")
    idx = torch.tensor([ids] * params.num_samples, device=device)  # (B, T)
    generator = torch_generator(params.seed, Stream.SAMPLING, device=device)
    show(tokenizer.decode(ids))
    stream, drawn = tokenizer.stream(), []
    for following in generate(model, idx, params, generator):
        drawn.append(following)
        show(stream.push(int(following[0])))
    show(stream.finish())
    tokens = torch.stack(drawn, dim=1)  # (B, max_new_tokens)
    return [tokenizer.decode(ids + row) for row in tokens.tolist()]
