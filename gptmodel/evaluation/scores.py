"""Every token of both splits scored once, or as many as are asked for: all that the judgement of a model needs.

Shapes: B batch, T time, V vocab, L the losses of a token: of the transformer alone and, last, of the model.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from gptmodel.compute.place import Place
from gptmodel.data.batches import evaluation_starts, passages
from gptmodel.data.encoded import encoded
from gptmodel.data.prepared import PreparedData, bits_per_byte, load_test
from gptmodel.data.tokens import TokenFile
from gptmodel.errors import DataError
from gptmodel.evaluation.counting import PairCounts, counting_loss
from gptmodel.evaluation.loss import TOKENS_AT_ONCE, SplitLoss, at_once, over_blocks, scored_blocks
from gptmodel.evaluation.spans import passages as find_passages
from gptmodel.evaluation.spans import span_losses
from gptmodel.language_model import LanguageModel


@dataclass(frozen=True)
class SplitScore:
    """The losses of a split, and what of it they are of."""

    loss: SplitLoss
    network: SplitLoss  # of the transformer alone: `loss` itself for a model without counts
    bytes: int  # of the tokens scored
    tokens: int  # that could be scored: all but the first

    def metrics(self) -> dict[str, float]:
        """Return loss (nats per token), perplexity, bits per byte and the number of tokens scored."""
        return {
            "loss": self.loss.mean,
            "bits_per_byte": bits_per_byte(self.loss.total, self.bytes),
            "perplexity": math.exp(min(self.loss.mean, 700.0)),
            "tokens": self.loss.tokens,
        }


@dataclass(frozen=True)
class Scores:
    """What was found of a model and its data."""

    train: SplitScore
    val: SplitScore
    spans: NDArray[np.float32]  # of val, nats: see evaluation.spans
    passages: dict[str, list[dict[str, Any]]]  # of val, the easiest and the hardest
    counting_loss: float  # of counting tokens and pairs of tokens, on what was scored of val
    counted: bool  # whether n-grams of the train split are mixed in


def score(model: LanguageModel, data: PreparedData, place: Place, max_tokens: int | None = None) -> Scores:
    """Score both splits, each token once, in blocks of the model's block_size.

    `max_tokens` bounds what is scored of each split, in runs of whole blocks spread evenly over it. Raises
    CheckpointError for data of another tokenizer, and DataError for a loss that is no number.
    """
    model.check_tokenizer(data.tokenizer, data.folder)
    block_size = model.params.block_size
    bound = scored_blocks(max_tokens, block_size)
    lengths = data.tokenizer.byte_lengths()  # (V,)
    val_nats = np.full(len(data.val.ids), np.nan, np.float32)
    train = _score_split(model, data.train, lengths, place, bound)
    val = _score_split(model, data.val, lengths, place, bound, val_nats)
    counts = PairCounts(data.train.ids, data.tokenizer.vocab_size)
    counting = counting_loss(counts, partial(_rows, data.val.ids, block_size, *bound))
    spans = span_losses(val_nats, data.val.ids, lengths)
    easy_and_hard = find_passages(val_nats, data.val.ids, data.tokenizer)
    return Scores(train, val, spans, easy_and_hard, counting, counted=model.counts is not None)


def score_test(model: LanguageModel, data: PreparedData, place: Place, max_tokens: int | None = None) -> SplitScore:
    """Score the test split, which nothing else looks at; DataError if there is none."""
    model.check_tokenizer(data.tokenizer, data.folder)
    bound = scored_blocks(max_tokens, model.params.block_size)
    return _score_split(model, load_test(data), data.tokenizer.byte_lengths(), place, bound)


def score_text(model: LanguageModel, path: Path, place: Place, max_tokens: int | None = None) -> SplitScore:
    """Score a text file, which the model's own tokenizer encodes, as one split; DataError if that cannot be done."""
    bound = scored_blocks(max_tokens, model.params.block_size)
    return _score_split(model, encoded(path, model.tokenizer), model.tokenizer.byte_lengths(), place, bound)


def _score_split(
    model: LanguageModel,
    tokens: TokenFile,
    lengths: NDArray[np.int64],
    place: Place,
    bound: tuple[int | None, int],
    nats: NDArray[np.float32] | None = None,
) -> SplitScore:
    """Score a split, or as many blocks and in runs as `bound` says.

    Where `nats` (n,) is given, it gets the loss of each token that is scored, and 0 for the first one.
    """
    block_size, ids = model.params.block_size, tokens.ids
    sums = np.zeros((1 if model.counts is None else 2, block_size))
    counts = np.zeros(block_size, dtype=np.int64)

    def work(idx: Tensor, targets: Tensor) -> tuple[Tensor, Tensor | None]:
        losses = [
            F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none").double().view(targets.shape)
            for logits in model.predictions(idx)
        ]  # L times (B, T)
        totals = torch.stack([of_one.sum(0) for of_one in losses])  # (L, T)
        return totals, None if nats is None else losses[-1].float()  # (B, T)

    if nats is not None:
        nats[0] = 0.0
    batches = evaluation_starts(len(ids), at_once(block_size, tokens.vocab_size, place.device), block_size, *bound)
    results = over_blocks(model.transformer, work, ids, block_size, place, *bound)
    for (starts, length), (totals, of_each) in zip(batches, results, strict=True):
        sums[:, :length] += totals.cpu().numpy()
        counts[:length] += len(starts)
        if nats is not None and of_each is not None:
            nats[starts[:, None] + 1 + np.arange(length)] = of_each.cpu().numpy()
    split, network = SplitLoss(sums[-1], counts), SplitLoss(sums[0], counts)
    if not math.isfinite(split.total + network.total):
        raise DataError(f"{tokens.path}: the model's loss on it is {split.total}; train the model again")
    scored_bytes = sum(int(lengths[rows[:, 1:]].sum()) for rows in _rows(ids, block_size, *bound))
    return SplitScore(split, network, scored_bytes, len(ids) - 1)


def _rows(ids: NDArray[np.integer], block_size: int, max_blocks: int | None, run: int) -> Iterator[NDArray[np.int64]]:
    """Yield the passages that are scored, some at once, (b, T + 1): all but the first id of each."""
    many = 16 * max(1, TOKENS_AT_ONCE // block_size)
    for starts, length in evaluation_starts(len(ids), many, block_size, max_blocks, run):
        yield passages(ids, starts, length).astype(np.int64)
