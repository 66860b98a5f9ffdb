"""Drawing tokens from a model one after the other. Shapes: B batch, T time, V vocab."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from gptmodel.compute.place import Place
from gptmodel.compute.random import Stream, torch_generator
from gptmodel.config import SampleParams
from gptmodel.errors import CheckpointError, DataError
from gptmodel.language_model import LanguageModel
from gptmodel.sampling.incremental import IncrementalModel
from gptmodel.sampling.logits import next_probabilities
from gptmodel.tokenizers.base import Tokenizer, can_encode

LINE_ENDS = ("\n", "\r")


@torch.inference_mode()
def generate(model: LanguageModel, idx: Tensor, params: SampleParams, generator: torch.Generator) -> Iterator[Tensor]:
    """Continue token ids (B, T) of any length T > 0, yielding the next ids (B,) `params.max_new_tokens` times.

    The model sees the last block_size ids, and the tokens are those of a loop that gives it all of them each time:
    up to block_size with a `KVCache`, past it by reading the whole context again for each token, since no key or value
    stays what it was (see `gptmodel.sampling.kv_cache`). The logits are that loop's but for the last bits of rounding.
    Random numbers come from `generator` alone, which is on the device of idx.
    """
    model.transformer.eval()
    reader, block_size = IncrementalModel(model), model.params.block_size
    cache = reader.new_cache(idx.size(0))
    new_ids = idx[:, -block_size:]
    for _ in range(params.max_new_tokens):
        if cache.length == block_size:
            new_ids = torch.cat((cache.idx[:, 1:], new_ids), dim=1)  # (B, block_size)
            cache.reset()
        new_ids = _drawn(reader.next_logits(new_ids, cache), params, generator)  # (B, 1)
        yield new_ids[:, 0]


def _drawn(logits: Tensor, params: SampleParams, generator: torch.Generator) -> Tensor:
    """Draw a token from each row of logits (B, V) as (B, 1)."""
    if not math.isfinite(logits.sum().item()):  # one number to wait for
        raise CheckpointError("the model's output is not finite: train it again, at a lower learning rate")
    if params.temperature == 0.0:
        return logits.argmax(dim=-1, keepdim=True)  # (B, 1)
    probabilities = next_probabilities(logits, temperature=params.temperature, top_k=params.top_k, top_p=params.top_p)
    # As torch.multinomial draws one token, to the bit, without its checks: the least of waiting times wins.
    waiting = torch.empty_like(probabilities).exponential_(generator=generator)
    return (probabilities / waiting).argmax(dim=-1, keepdim=True)  # (B, 1)


def default_prompt(tokenizer: Tokenizer) -> str:
    """Return what a sample begins with where nobody says it: a line end of the text, or its first token if it has none.

    Every tokenizer can encode it.
    """
    return next((end for end in LINE_ENDS if can_encode(tokenizer, end)), tokenizer.decode([0]))


def sample_pieces(model: LanguageModel, prompt: str | None, params: SampleParams, place: Place) -> Iterator[list[str]]:
    """Yield the next piece of each of `num_samples` texts that grow together: first the prompt, then what follows.

    A prompt of None is the tokenizer's default.

    The pieces of a text, joined, are the text. A piece is empty while a character lacks some of its tokens. Raises
    DataError for an empty prompt and for a character that the model does not know.
    """
    tokenizer = model.tokenizer
    ids = tokenizer.encode(default_prompt(tokenizer) if prompt is None else prompt, params.on_unknown)
    if not ids:
        raise DataError("the prompt is empty: give at least one character")
    idx = torch.tensor([ids] * params.num_samples, device=place.device)  # (B, T)
    generator = torch_generator(params.seed, Stream.SAMPLING, device=place.device)
    streams = [tokenizer.stream() for _ in range(params.num_samples)]
    yield ["".join(map(stream.push, ids)) for stream in streams]
    for new_ids in generate(model, idx, params, generator):
        yield [stream.push(token) for stream, token in zip(streams, new_ids.tolist(), strict=True)]
    yield [stream.finish() for stream in streams]
