"""How much memory a training needs, from its settings alone, before anything is allocated."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from gptmodel.config import ModelParams, TrainParams
from gptmodel.errors import TrainingError
from gptmodel.evaluation.loss import TOKENS_AT_ONCE
from gptmodel.nn.transformer import TransformerModel

BASE_BYTES = 350 << 20  # the interpreter with torch, before a model
OPTIMIZER_COPIES = {"sgd": 0, "adamw": 2, "muon": 2}  # muon: 1 of the matrices, and as much again while it works


def estimate_bytes(model: ModelParams, train: TrainParams, vocab_size: int) -> int:
    """Return about how many bytes a training has resident at its peak, in float32.

    Weights, gradients and the optimizer's averages; and the larger of what backward keeps of a batch and what an
    evaluation's forward pass needs. A layer keeps about 20 widths of each token: its inputs, q, k, v, the attention's
    output and projection, two sums, two norms, and four widths before and after the non-linearity.
    """
    parameters = _count(model, vocab_size)
    C, V, T = model.n_embd, vocab_size, model.block_size
    copies = 2 + OPTIMIZER_COPIES[train.optimizer]
    tokens = train.batch_size * T
    attention = model.n_head * T if T <= 64 or model.dropout else 0  # weights of each token, where they are kept
    kept = tokens * (model.n_layer * (20 * C + attention) + 4 * C + 4 * V)
    scored = max(TOKENS_AT_ONCE, T) * (12 * C + 3 * V)
    return BASE_BYTES + 4 * (copies * parameters + max(kept, scored))


def _count(model: ModelParams, vocab_size: int) -> int:
    """Return the number of weights, from models of one and two layers: as many as are asked for may be too many."""
    try:
        with torch.device("meta"):
            one, two = (
                sum(
                    p.numel()
                    for p in TransformerModel(model.model_copy(update={"n_layer": n}), vocab_size).parameters()
                )
                for n in (1, 2)
            )
    except RuntimeError:  # a tensor with more bytes than torch can count
        return 1 << 62
    return one + (model.n_layer - 1) * (two - one)


@contextmanager
def memory_errors(when: Callable[[], str]) -> Iterator[None]:
    """Turn a failed allocation into a TrainingError that says when it was and what to do."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not _of_memory(error):
            raise
        raise TrainingError(
            f"out of memory {when()}: lower train.batch_size, model.block_size, model.n_layer or model.n_embd; "
            "the last snapshot is kept"
        ) from error


def _of_memory(error: BaseException | None) -> bool:
    """Tell whether an error, or one that it came up in the handling of, is a failed allocation.

    `torch.save` closes its archive then, and that fails with an error of its own.
    """
    if error is None:
        return False
    by_torch = isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
    return by_torch or isinstance(error, MemoryError) or _of_memory(error.__context__)


def check_memory(needed: int) -> None:
    """Raise TrainingError when the machine's main memory is smaller than what is needed."""
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if needed > there:
        raise TrainingError(
            f"training would need about {shown(needed)} of memory, and this machine has {shown(there)}: "
            "lower train.batch_size, model.block_size, model.n_layer or model.n_embd"
        )


def shown(count: int) -> str:
    """Return a number of bytes in MB or GB."""
    return f"{count / 1e9:.1f} GB" if count >= 10**9 else f"{count / 1e6:.0f} MB"
