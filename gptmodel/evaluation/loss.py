"""The loss of a model on a split: sums in float64 over counted tokens, divided once.

Shapes: B batch, T time, V vocab.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice, zip_longest
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from gptmodel.compute.place import Place
from gptmodel.data.batches import Ids, evaluation_batches, evaluation_starts, ids_on
from gptmodel.language_model import LanguageModel

TOKENS_AT_ONCE = 4096  # in a forward pass
LOGITS_AT_ONCE = 1 << 22  # which is fewer tokens for a vocabulary of more than 1024
ON_GPU = 16  # times as many there, which would be idle for most of the time otherwise

RUNS = 32

LossFn = Callable[[Tensor, Tensor], Tensor]
Result = TypeVar("Result")


@dataclass(frozen=True)
class SplitLoss:
    """Loss sums of a split, one entry for each position in the block."""

    totals: np.ndarray  # (block_size,) float64, nats
    counts: np.ndarray  # (block_size,) int64, tokens

    @property
    def tokens(self) -> int:
        """How many tokens were scored."""
        return int(self.counts.sum())

    @property
    def total(self) -> float:
        """Nats of the whole split."""
        return float(self.totals.sum())

    @property
    def mean(self) -> float:
        """Nats per token."""
        return self.total / self.tokens

    def by_position(self) -> np.ndarray:
        """Nats per token at each position that was scored, (at most block_size,)."""
        scored = self.counts > 0
        means: np.ndarray = self.totals[scored] / self.counts[scored]
        return means


def by_position_csv(train: SplitLoss, val: SplitLoss) -> str:
    """Return metrics/loss_by_position.csv: how many tokens were read, and nats per token of both splits.

    A split that is shorter than a block has no loss at its last positions.
    """
    columns = [[repr(float(loss)) for loss in split.by_position()] for split in (train, val)]
    rows = enumerate(zip_longest(*columns, fillvalue=""), start=1)
    return "position,train,val\n" + "".join(f"{position},{','.join(losses)}\n" for position, losses in rows)


def split_loss(
    model: nn.Module | LanguageModel,
    data: Ids,
    loss_fn: LossFn,
    place: Place,
    *,
    max_blocks: int | None = None,
) -> SplitLoss:
    """Score the tokens of `data`, each once, in consecutive blocks of the model's block_size.

    Every token but the first is scored, for the first has nothing before it: `len(data) - 1` in all. `max_blocks`
    bounds the work to that many blocks, spread evenly over the split. `loss_fn` gets logits (N, V) and targets (N,)
    and returns the loss of each token, or their mean. A module is left in the mode it was in. The threads of the
    place's crew take a batch of blocks each, and so do several processes; how many they are changes nothing. A GPU is
    waited for once.
    """
    network, predict = (model.transformer, model.predict) if isinstance(model, LanguageModel) else (model, model)
    block_size: int = model.params.block_size  # type: ignore[union-attr,assignment]
    totals = np.zeros(block_size)
    counts = np.zeros(block_size, dtype=np.int64)

    def work(idx: Tensor, targets: Tensor) -> Tensor:
        B, T = idx.shape
        losses = loss_fn(predict(idx).flatten(0, 1), targets.flatten())  # (B * T,) or ()
        return losses.double().expand(B * T).view(B, T).sum(dim=0)  # (T,)

    own = over_blocks(network, work, data, block_size, place, max_blocks)
    blocks, world = at_once(block_size, network.vocab_size, place.device), place.world  # type: ignore[arg-type]
    shapes = [(len(starts), T) for starts, T in evaluation_starts(len(data), blocks, block_size, max_blocks)]
    every = torch.zeros(len(shapes), block_size, dtype=torch.float64)
    sums = torch.split(torch.cat(own).cpu(), [len(sums) for sums in own]) if own else ()
    for number, row in zip(range(world.rank, len(shapes), world.size), sums, strict=True):
        every[number, : len(row)] = row
    for (B, T), row in zip(shapes, world.filled(every), strict=True):
        totals[:T] += row[:T].numpy()
        counts[:T] += B
    return SplitLoss(totals, counts)


def tokens_at_once(vocab_size: int) -> int:
    """Return how many tokens a forward pass takes: by nothing else, since the last bits of logits depend on it."""
    return min(TOKENS_AT_ONCE, max(1, LOGITS_AT_ONCE // vocab_size))


def at_once(block_size: int, vocab_size: int, device: torch.device | None = None) -> int:
    """Return how many blocks a forward pass takes, on a CPU or on `device`."""
    times = ON_GPU if device is not None and device.type == "cuda" else 1
    return max(1, times * tokens_at_once(vocab_size) // block_size)


def scored_blocks(max_tokens: int | None, block_size: int) -> tuple[int | None, int]:
    """Return how many blocks hold at most that many tokens, but one at least, and how many of them are a run.

    Runs are as long as a forward pass of a small vocabulary on a CPU, so that whole passages of the text are scored,
    but there are RUNS at least, if there are so many blocks. None and runs of one for no bound.
    """
    if max_tokens is None:
        return None, 1
    blocks = max(1, max_tokens // block_size)
    run = max(1, min(TOKENS_AT_ONCE // block_size, blocks // RUNS))
    return blocks - blocks % run, run


def over_blocks(
    network: nn.Module,
    work: Callable[[Tensor, Tensor], Result],
    data: Ids,
    block_size: int,
    place: Place,
    max_blocks: int | None,
    run: int = 1,
) -> list[Result]:
    """Return what `work` makes of idx and targets (B, T) of each batch of blocks, in order.

    Of several processes each gets every so many-th batch. Which blocks they are, `evaluation_starts` says. The network
    is in evaluation mode meanwhile. On a GPU it computes in the place's dtype, as a training does there, and on a CPU
    in that of its weights.
    """
    device, data = place.device, ids_on(data, place.device)
    in_half = device.type == "cuda" and place.dtype != torch.float32

    @torch.no_grad()
    def scored(batch: tuple[Tensor, Tensor]) -> Result:
        with torch.autocast(device.type, dtype=place.dtype, enabled=in_half):
            return work(*batch)

    was_training = network.training
    network.eval()
    try:
        blocks = at_once(block_size, network.vocab_size, device)  # type: ignore[arg-type]
        batches = evaluation_batches(data, blocks, block_size, max_blocks, device, run)
        return place.crew.map(scored, islice(batches, place.world.rank, None, place.world.size))
    finally:
        network.train(was_training)


def estimate_loss(
    model: nn.Module | LanguageModel,
    train_data: Ids,
    val_data: Ids,
    loss_fn: LossFn,
    device: str | torch.device | Place,
    *,
    max_blocks: int | None = None,
) -> dict[str, float]:
    """Return the average negative log-likelihood per token, in nats, of both splits as {"train": ..., "val": ...}.

    Whole splits by default; `max_blocks` bounds the blocks of each (see `split_loss`). `device` is the tutorial's, or a
    whole place to compute in.
    """
    place = device if isinstance(device, Place) else Place.on(device)
    return {
        split: split_loss(model, data, loss_fn, place, max_blocks=max_blocks).mean
        for split, data in (("train", train_data), ("val", val_data))
    }
