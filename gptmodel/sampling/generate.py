"""Drawing tokens from a model one after the other. Shapes: B batch, T time, V vocab."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from gptmodel.compute.random import Stream, torch_generator
from gptmodel.config import SampleParams
from gptmodel.errors import CheckpointError, DataError
from gptmodel.sampling.incremental import IncrementalModel
from gptmodel.sampling.logits import next_probabilities
from gptmodel.sampling.stops import GrowingText
from gptmodel.tokenizers.base import Tokenizer, can_encode

LINE_ENDS = ("\n", "\r")


class Step(NamedTuple):
    """The tokens drawn at one position, and what they were drawn from."""

    ids: Tensor  # (B,)
    logits: Tensor  # (B, V), as the model predicts: before temperature, top_k and top_p


@torch.inference_mode()
def generate(reader: IncrementalModel, idx: Tensor, params: SampleParams, generator: torch.Generator) -> Iterator[Step]:
    """Continue token ids (B, T) of any length T > 0, yielding the next ones `params.max_new_tokens` times.

    Whoever wants text stops listening when it has enough: `params.stop` is not looked at here.

    The model sees the last block_size ids at first. When it has seen block_size and there is another, it forgets the
    oldest as `params.past_block` says, and reads the others again, since none of their keys and values stays what it
    was (see `gptmodel.sampling.kv_cache`): with crop for each token, with shift once in half a block. The tokens are
    those of a loop that gives the model its whole context each time, the logits but for the last bits of rounding.
    Random numbers come from `generator` alone, which is on the device of idx.
    """
    block_size = reader.language_model.params.block_size
    cache, forgotten = reader.new_cache(idx.size(0)), forgotten_at_once(params, block_size)
    new_ids = idx[:, -block_size:]
    for _ in range(params.max_new_tokens):
        if cache.length == block_size:
            new_ids = torch.cat((cache.idx[:, forgotten:], new_ids), dim=1)  # (B, block_size - forgotten + 1)
            cache.reset()
        logits = reader.next_logits(new_ids, cache)  # (B, V)
        new_ids = _drawn(logits, params, generator)  # (B, 1)
        yield Step(new_ids[:, 0], logits)


def forgotten_at_once(params: SampleParams, block_size: int) -> int:
    """Return how many ids a full block forgets to make room for the next.

    By half, the contexts are those in which `gptmodel.scoring` scores a text.
    """
    return 1 if params.past_block == "crop" else max(1, block_size // 2)


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


def prompt_ids(tokenizer: Tokenizer, prompt: str | None, params: SampleParams) -> list[int]:
    """Return the ids of a prompt, or of the tokenizer's default for None.

    Raises DataError for an empty prompt and for a character that the model does not know.
    """
    ids = tokenizer.encode(default_prompt(tokenizer) if prompt is None else prompt, params.on_unknown)
    if not ids:
        raise DataError("the prompt is empty: give at least one character")
    return ids


def drawn(reader: IncrementalModel, ids: list[int], params: SampleParams) -> Iterator[Step]:
    """Draw `num_samples` texts that grow together from the ids of a prompt, with random numbers of `params.seed`."""
    device = reader.language_model.transformer.encoder.weight.device
    idx = torch.tensor([ids] * params.num_samples, device=device)  # (B, T)
    return generate(reader, idx, params, torch_generator(params.seed, Stream.SAMPLING, device=device))


def sample_pieces(reader: IncrementalModel, prompt: str | None, params: SampleParams) -> Iterator[list[str]]:
    """Yield the next piece of each of `num_samples` texts that grow together: first the prompt, then what follows.

    The pieces of a text, joined, are the text, which ends before the first of `params.stop`. A piece is empty while a
    character lacks some of its tokens, while a stop may have begun, and after one. Errors are those of `prompt_ids`.
    """
    tokenizer = reader.language_model.tokenizer
    ids = prompt_ids(tokenizer, prompt, params)
    texts = [GrowingText(tokenizer, ids, params.stop) for _ in range(params.num_samples)]
    yield [text.prompt for text in texts]
    for step in drawn(reader, ids, params):
        yield [text.push(token) for text, token in zip(texts, step.ids.tolist(), strict=True)]
        if all(text.stopped for text in texts):
            break
    yield [text.finish() for text in texts]
