"""How much memory a training needs, from its settings alone, before anything is allocated."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch

from gptmodel.config import ModelParams, Params, TrainParams
from gptmodel.errors import TrainingError
from gptmodel.evaluation.loss import TOKENS_AT_ONCE
from gptmodel.nn.fused import SHORT_BLOCK
from gptmodel.nn.transformer import TransformerModel
from gptmodel.training.evaluator import has_idle_cores
from gptmodel.units import size

BASE_BYTES = 335 << 20  # the interpreter with torch, before a model
COMPILER_BYTES = 140 << 20  # torch's compiler, and what it makes
COUNTED_BYTES = 20  # of a training token in the counts of one order of n-grams
MOMENTS = {"sgd": 0, "adamw": 2, "muon": 2}  # averages of each weight; Muon has 1 of a block's matrices


def memory_needed(params: Params, vocab_size: int, train_tokens: int, device: torch.device) -> tuple[int, bool]:
    """Return about how many bytes a training needs, and whether evaluations compute beside its iterations.

    They do where cores are idle and there is memory for both at once. Raises TrainingError when the machine's main
    memory is smaller than what is needed there without that.
    """
    beside = has_idle_cores(device, params.train.threads)
    estimate = partial(estimate_bytes, params.model, params.train, vocab_size, train_tokens)
    needed = estimate(beside=beside)
    if beside and needed > _main_memory():
        beside, needed = False, estimate(beside=False)
    if device.type == "cpu":
        check_memory(needed)
    return needed, beside


def estimate_bytes(model: ModelParams, train: TrainParams, vocab_size: int, train_tokens: int, *, beside: bool) -> int:
    """Return about how many bytes a training has resident at its peak, in float32.

    Weights, gradients and the optimizer's averages, where a table of n-grams has a gradient for the rows of a batch
    only; the larger of what backward keeps of a batch and what an evaluation's forward pass needs, or, `beside` the
    iterations, both, a pass for each thread, and the weights that are evaluated (a thread that trains scores too, but
    keeps nothing of a batch then); Muon's work space; the larger of a snapshot, and model.pth with the copy it is made
    of; and the counts of n-grams, if any. What one of these frees is in pieces that seldom serve for another, so they
    add up.
    """
    parameters, tables = _count(model, vocab_size)
    matrices = 12 * model.n_layer * model.n_embd**2 if train.optimizer == "muon" else 0
    moments = MOMENTS[train.optimizer] * parameters - matrices
    resident = parameters + (parameters - tables) + moments
    saving = max(parameters + moments, 2 * parameters)
    kept, scored = _kept(model, train, vocab_size), _scored(model, vocab_size)
    working = parameters + max(kept, scored) + train.threads * scored if beside else max(kept, scored)
    counted = COUNTED_BYTES * model.kneser_ney * train_tokens
    base = BASE_BYTES + (COMPILER_BYTES if train.compile else 0)
    return base + 4 * (resident + working + _muon_work(matrices) + saving) + counted


def _kept(model: ModelParams, train: TrainParams, vocab_size: int) -> int:
    """Return the numbers that backward keeps of a batch.

    A layer keeps about 20 widths of each token: its inputs, q, k, v, the attention's output and projection, two sums,
    two norms, and four widths before and after the non-linearity. Dropout adds its noise and its output.
    """
    C, V, T = model.n_embd, vocab_size, model.block_size
    tokens = train.batch_size * T
    weights = model.n_head * T  # of the attention, for each token
    kept = tokens * (4 * C + 4 * V + 3 * C * len(model.ngram_orders))
    if model.dropout:  # softmax, noise and product are kept; up to eight more are there while a layer goes backward
        kept += tokens * (model.n_layer * (24 * C + 3 * weights) + 8 * weights)
    else:
        kept += tokens * model.n_layer * (20 * C + (weights if T <= SHORT_BLOCK else 0))
    return kept


def _scored(model: ModelParams, vocab_size: int) -> int:
    """Return the numbers that a forward pass of an evaluation needs."""
    each = 12 * model.n_embd + (7 if model.kneser_ney else 3) * vocab_size
    if model.dropout or model.block_size <= SHORT_BLOCK:  # the weights of the attention, before and after the softmax
        each += 2 * model.n_head * model.block_size
    return max(TOKENS_AT_ONCE, model.block_size) * each


def _muon_work(matrices: int) -> int:
    """Return the numbers Muon works with: an update of each matrix, and Newton-Schulz on those of the largest shape.

    Those are a third of all (the feed-forward's, upwards or downwards); of them there are the updates put together,
    their result before and after a step and that of the shape before, and three products of a quarter of the size.
    """
    return matrices + matrices // 3 * 19 // 4


def _count(model: ModelParams, vocab_size: int) -> tuple[int, int]:
    """Return the number of weights, and of those in tables with sparse gradients.

    From models of one and two layers: as many as are asked for may be too many.
    """
    try:
        with torch.device("meta"):
            small = [TransformerModel(model.model_copy(update={"n_layer": n}), vocab_size) for n in (1, 2)]
    except RuntimeError:  # a tensor with more bytes than torch can count
        return 1 << 62, 0
    one, two = (sum(p.numel() for p in each.parameters()) for each in small)
    tables = 0 if small[0].ngrams is None else sum(p.numel() for p in small[0].ngrams.parameters())
    return one + (model.n_layer - 1) * (two - one), tables


@contextmanager
def memory_errors(when: Callable[[], str]) -> Iterator[None]:
    """Turn a failed allocation into a TrainingError that says when it was and what to do."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not _of_memory(error):
            raise
        raise TrainingError(
            f"out of memory {when()}: lower train.batch_size, model.block_size, model.n_layer, model.n_embd or "
            "model.kneser_ney; the last snapshot is kept"
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
    there = _main_memory()
    if needed > there:
        raise TrainingError(
            f"training would need about {size(needed)} of memory, and this machine has {size(there)}: "
            "lower train.batch_size, model.block_size, model.n_layer, model.n_embd or model.kneser_ney"
        )


def _main_memory() -> int:
    """Return the bytes of the machine's main memory; where it is not told, as many as can be."""
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return sys.maxsize
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
