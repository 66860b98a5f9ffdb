"""Token ids -> tensors: `get_batch`, the batch of a training iteration, and the batches of an evaluation.

A training batch is a function of (seed, iteration); an evaluation draws no random numbers at all.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple, Self, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gptmodel.compute.random import Stream, derived_generator
from gptmodel.errors import DataError

Ids = NDArray[Any] | Tensor
"""Token ids, (n,): mapped from a file, or, of a signed type, on a GPU."""


class Splits(NamedTuple):
    """The token ids of both splits, (n,) each."""

    train: Ids
    val: Ids

    def on(self, device: torch.device) -> Self:
        """Return the splits where batches are cut for a device."""
        return type(self)(*(ids_on(ids, device) for ids in self))


def ids_on(ids: Ids, device: torch.device) -> Ids:
    """Return ids (n,) where batches are cut for a device: a GPU has all of them, other devices are sent batches."""
    if isinstance(ids, Tensor) or device.type != "cuda":
        return ids
    wider = {"<u2": "<i4", "<u4": "<i8"}.get(ids.dtype.str, ids.dtype.str)  # torch indexes few unsigned types
    return torch.from_numpy(ids.astype(wider)).to(device)


def get_batch(data: NDArray[Any], idx: int, bptt: int, device: str | torch.device = "cpu") -> tuple[Tensor, Tensor]:
    """Return `data[idx : idx+seq_len]` and the same shifted by one, flattened: two int64 tensors of shape (seq_len,).

    `data` holds token ids, shape (n,). seq_len is `bptt`, or less where the data ends: min(bptt, n - 1 - idx).
    Raises DataError when no target follows `idx`.
    """
    seq_len = min(bptt, len(data) - 1 - idx)
    if idx < 0 or seq_len < 1:
        raise DataError(f"no sequence of {bptt} tokens starts at index {idx} of {len(data)} tokens")
    x = torch.from_numpy(data[idx : idx + seq_len].astype(np.int64))
    y = torch.from_numpy(data[idx + 1 : idx + 1 + seq_len].astype(np.int64)).reshape(-1)
    return x.to(device), y.to(device)


def training_batch(
    data: Ids, seed: int, iteration: int, batch_size: int, block_size: int, device: str | torch.device = "cpu"
) -> tuple[Tensor, Tensor]:
    """Return idx and targets of an iteration, both (B, T) int64.

    Row b is `get_batch(data, start_b, block_size)`, with the starts that `training_starts` draws.
    """
    starts = training_starts(len(data), seed, iteration, batch_size, block_size)
    return _shifted(passages(data, starts, block_size), device)


def training_starts(tokens: int, seed: int, iteration: int, batch_size: int, block_size: int) -> NDArray[np.int64]:
    """Return where the sequences of an iteration start (B,), uniform over all places that leave T + 1 tokens.

    They are a function of the arguments: no state is kept. Raises DataError when there are too few tokens.
    """
    starts = tokens - block_size
    if starts < 1:
        raise DataError(f"{tokens} tokens hold no sequence of block_size + 1 = {block_size + 1}")
    drawn: NDArray[np.int64] = derived_generator(seed, Stream.BATCHES, iteration).integers(starts, size=batch_size)
    return drawn


def evaluation_batches(
    data: Ids,
    batch_size: int,
    block_size: int,
    max_blocks: int | None = None,
    device: str | torch.device = "cpu",
    run: int = 1,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield idx and targets of the blocks at `evaluation_starts`, both (b, T) int64."""
    for starts, length in evaluation_starts(len(data), batch_size, block_size, max_blocks, run):
        yield _shifted(passages(data, starts, length), device)


def evaluation_starts(
    tokens: int, batch_size: int, block_size: int, max_blocks: int | None = None, run: int = 1
) -> Iterator[tuple[NDArray[np.int64], int]]:
    """Yield where consecutive blocks of a split of `tokens` start, (b,) with b <= batch_size, and their length.

    All blocks together have each token but the first as a target exactly once; what is left at the end comes alone,
    with a length below `block_size`. Where `max_blocks` is less than the number of full blocks, that many blocks are
    taken instead, `run` after one another each, evenly spread over all of them: the head of a split is not the split.
    Raises DataError for less than 2 tokens.
    """
    targets = tokens - 1
    if targets < 1:
        raise DataError(f"{tokens} tokens hold nothing to evaluate; at least 2 are needed")
    full_blocks, remainder = divmod(targets, block_size)
    if max_blocks is None or max_blocks >= full_blocks:
        count, run = full_blocks, 1
    else:
        count = max_blocks - max_blocks % run
    for start in range(0, count, batch_size):
        number, place = np.divmod(np.arange(start, min(start + batch_size, count)), run)
        # The middle of each of as many equal parts of the split as there are runs; with all blocks, block = number.
        block = (2 * number + 1) * (full_blocks // run) // (2 * (count // run)) * run + place
        yield block * block_size, block_size
    if count == full_blocks and remainder:
        yield np.array([full_blocks * block_size]), remainder


@overload
def passages(data: NDArray[Any], starts: NDArray[np.int64], length: int) -> NDArray[Any]: ...
@overload
def passages(data: Tensor, starts: NDArray[np.int64], length: int) -> Tensor: ...
def passages(data: Ids, starts: NDArray[np.int64], length: int) -> Ids:
    """Return the `length` + 1 ids from each start, (b, length + 1): those that are scored, and one before them."""
    places = starts[:, None] + np.arange(length + 1)  # (b, length + 1)
    if isinstance(data, Tensor):
        index = torch.from_numpy(places)
        return data[index.pin_memory().to(data.device, non_blocking=True) if data.is_cuda else index]
    rows: NDArray[Any] = data[places]
    return rows


def _shifted(rows: Ids, device: str | torch.device) -> tuple[Tensor, Tensor]:
    ids = rows.long() if isinstance(rows, Tensor) else torch.from_numpy(rows.astype(np.int64))  # (B, T + 1)
    return ids[:, :-1].contiguous().to(device), ids[:, 1:].contiguous().to(device)  # (B, T), (B, T)
