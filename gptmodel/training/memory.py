"""How much memory a training needs, from its settings alone, before anything is allocated."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from gptmodel.compute.limits import MemoryLimit, memory_limit
from gptmodel.compute.place import Place
from gptmodel.config import ModelParams, Params, TrainParams
from gptmodel.errors import TrainingError, is_out_of_memory
from gptmodel.evaluation.loss import tokens_at_once
from gptmodel.nn.fused import is_plain
from gptmodel.nn.transformer import TransformerModel
from gptmodel.optim.factory import build_optimizer
from gptmodel.units import size

BASE_BYTES = 275 << 20  # the interpreter with torch, before a model
COMPILER_BYTES = 200 << 20  # torch's compiler, and what it makes
COUNTED_BYTES = 20  # of a training token in the counts of one order of n-grams
LOGITS = 5.5  # times that logits take memory: themselves, logarithms and two gradients, or what these left behind


def place_in_memory(params: Params, vocab_size: int, train_tokens: int, place: Place) -> tuple[Place, int]:
    """Return where a training computes, given the memory it may use, and about how many bytes it needs.

    These are of all processes of this machine together. Evaluations compute beside the iterations only where there is
    memory for both at once. Raises TrainingError when there is less main memory, or memory of the GPU, than is needed
    without that.
    """
    processes = place.world.local_size
    if place.device.type == "cuda":
        needed = estimate_gpu_bytes(params.model, params.train, vocab_size, train_tokens, place.dtype)
        check_memory(needed, MemoryLimit(torch.cuda.mem_get_info(place.device)[0], "the GPU has free"))
        return place, processes * needed  # each has a card of its own
    estimate = partial(estimate_bytes, params.model, params.train, vocab_size, train_tokens, threads=place.threads)
    needed = processes * estimate(beside=place.beside)
    if place.beside and needed > memory_limit().bytes:
        place, needed = replace(place, beside=False), processes * estimate(beside=False)
    if place.device.type == "cpu":
        check_memory(needed, memory_limit())
    return place, needed


class _Numbers(NamedTuple):
    """How many numbers there are of each kind; an exact multiple of what a layer has, plus the rest of the model."""

    weights: int
    tables: int  # weights whose gradients are sparse
    averages: int  # that the optimizer keeps
    scratch: int  # that it works with in a step


def estimate_bytes(
    model: ModelParams, train: TrainParams, vocab_size: int, train_tokens: int, *, threads: int, beside: bool
) -> int:
    """Return about how many bytes a training by so many `threads` has resident at its peak, in float32.

    Weights, gradients and the optimizer's averages, where a table of n-grams has a gradient for the rows of a batch
    only; gradients of parts of a batch that wait for those of others; the larger of what backward keeps of the parts
    that are computed at once and what an evaluation's forward pass needs, or, `beside` the iterations, both, a pass for
    each thread, and the weights that are evaluated (a thread that trains scores too, but keeps nothing of a batch
    then); the optimizer's work space; the best weights, if they are kept; the larger of a snapshot, and model.pth with
    the copy it is made of, which come when nothing is evaluated any more; and the counts of n-grams, if any. What one
    of these frees is in pieces that seldom serve for another, so they add up; but a snapshot goes into what logits
    left, where these are larger than the tables of the vocabulary. The targets of a teacher count with the batch, its
    counts with those of n-grams.
    """
    numbers = _count(model, train, vocab_size)
    best = numbers.weights if train.keep == "best" else 0
    resident = _resident(model, train, vocab_size, numbers) + best
    if train.shard:  # the first process has the whole state too
        resident += numbers.weights + numbers.averages
    evaluated = numbers.weights if beside else 0
    saving = max(numbers.weights + numbers.averages + best, 2 * numbers.weights - evaluated)
    threads_at_work = min(threads, train.parts)
    tokens = train.batch_size * model.block_size // train.parts  # of a part
    logits = int(LOGITS * tokens * vocab_size) * threads_at_work
    saving = max(0, saving - logits) if tokens > model.n_embd else saving
    # targets of a teacher are as large as the logits of a whole batch; twice as much is there while they are made
    taught = 3 * train.batch_size * model.block_size * vocab_size if train.teacher_order else 0
    batch = _batch(model, train) * threads_at_work // train.parts + logits + taught
    scored = _scored(model, vocab_size)
    working = evaluated + max(batch, scored) + (threads * scored if beside else 0)
    if not train.compile and not train.shard:  # these compute one part
        waiting = min(train.parts, threads_at_work + train.parts.bit_length() - 1) - 1
        resident += waiting * (numbers.weights - numbers.tables)
    counts = COUNTED_BYTES * (_orders(model.kneser_ney, 3) + _orders(train.teacher_order, 2)) * train_tokens
    base = BASE_BYTES + (COMPILER_BYTES if train.compile else 0)
    return base + 4 * (resident + working + numbers.scratch + saving) + counts


def _orders(order: int, least: int) -> int:
    """Return how many orders of n-grams take as much memory as these and the counting of them, which `least` do."""
    return max(order, least) if order else 0


def estimate_gpu_bytes(
    model: ModelParams, train: TrainParams, vocab_size: int, train_tokens: int, dtype: torch.dtype
) -> int:
    """Return about how many bytes a training takes of a GPU.

    Weights, gradients and the optimizer's averages, in float32, and what matrices are multiplied in; what backward
    keeps of a batch, where torch's attention keeps no weights; the logits, some times over; and the token ids. Compiled
    code keeps about half of what single calls do.
    """
    numbers, half = _count(model, train, vocab_size), dtype != torch.float32
    sequences = -(-train.batch_size // train.parts)  # one part is computed after the other
    tokens, C = sequences * model.block_size, model.n_embd
    in_half = numbers.weights if half and not train.shard else 0
    waiting = 0 if train.shard else train.parts.bit_length() - 1  # gradients, for those of other parts
    weights = 4 * (_resident(model, train, vocab_size, numbers) + waiting * numbers.weights) + 2 * in_half
    of_layer, of_logits = (22, 6) if train.compile else (36, 10)  # bytes of a token, for each of C and V
    kept = model.n_layer * (of_layer * (1 if half else 2) + (4 if model.dropout else 0)) * C + of_logits * vocab_size
    id_bytes = 1 if vocab_size <= 1 << 8 else 4 if vocab_size <= 1 << 16 else 8  # as `batches.ids_on` has them
    # targets of a teacher, of the whole batch, and their products with the logits of a part
    taught = 4 * (train.batch_size * model.block_size + tokens) * vocab_size if train.teacher_order else 0
    return weights + tokens * kept + taught + id_bytes * train_tokens


def _resident(model: ModelParams, train: TrainParams, vocab_size: int, numbers: _Numbers) -> int:
    """Return how many weights, gradients and averages a process has.

    Of a model in shards these are its own, one of `train.parts`, and, whole with their gradients, the weights around
    the blocks and those of two blocks: one computes while the next is gathered.
    """
    all_of_them = 2 * numbers.weights - numbers.tables + numbers.averages
    if not train.shard:
        return all_of_them
    whole = _count(model.model_copy(update={"n_layer": min(2, model.n_layer)}), train, vocab_size)
    return -(-all_of_them // train.parts) + 2 * whole.weights


def _batch(model: ModelParams, train: TrainParams) -> int:
    """Return the numbers that backward keeps of a batch, but for the logits.

    A layer keeps about 22 widths of each token: its inputs, q, k, v, the attention's output and projection, two sums,
    two norms, and four widths before and after the non-linearity. Dropout adds its noise and its output. While a layer
    goes backward, about 24 more are there.
    """
    C, T = model.n_embd, model.block_size
    tokens = train.batch_size * T
    weights = model.n_head * T  # of the attention, for each token
    numbers = tokens * (28 * C + 3 * C * len(model.ngram_orders))
    dropout = model.dropout_of_attention(model.dropout)
    dtype = torch.bfloat16 if train.dtype == "bfloat16" else torch.float32
    if dropout:  # softmax, noise and product are kept; up to eight more are there while a layer goes backward
        numbers += tokens * weights * (3 * model.n_layer + 8)
    elif is_plain(T, dropout, dtype):
        numbers += tokens * weights * model.n_layer
    return numbers + tokens * model.n_layer * (26 if model.dropout else 22) * C


def _scored(model: ModelParams, vocab_size: int) -> int:
    """Return the numbers that a forward pass of an evaluation needs."""
    per_token = 12 * model.n_embd + (7 if model.kneser_ney else 3) * vocab_size
    if is_plain(
        model.block_size, model.dropout_of_attention(model.dropout), torch.float32
    ):  # the weights of the attention, before and after the softmax
        per_token += 2 * model.n_head * model.block_size
    return max(tokens_at_once(vocab_size), model.block_size) * per_token


def _count(model: ModelParams, train: TrainParams, vocab_size: int) -> _Numbers:
    """Count the numbers of a model and its optimizer, from models of one and two layers: more may be too many."""
    try:
        with torch.device("meta"):
            small = [TransformerModel(model.model_copy(update={"n_layer": n}), vocab_size) for n in (1, 2)]
    except RuntimeError:  # a tensor with more bytes than torch can count
        return _Numbers(1 << 62, 0, 0, 0)
    one, two = (_numbers(each, train) for each in small)
    return _Numbers(*(first + (model.n_layer - 1) * (second - first) for first, second in zip(one, two, strict=True)))


def _numbers(model: TransformerModel, train: TrainParams) -> _Numbers:
    optimizer = build_optimizer(model, train)
    averages = [value for p in model.parameters() for value in optimizer.kept(p).values() if isinstance(value, Tensor)]
    return _Numbers(
        weights=sum(p.numel() for p in model.parameters()),
        tables=0 if model.ngrams is None else sum(p.numel() for p in model.ngrams.parameters()),
        averages=sum(value.numel() for value in averages),
        scratch=optimizer.scratch(),
    )


@contextmanager
def memory_errors(when: Callable[[], str]) -> Iterator[None]:
    """Turn a failed allocation into a TrainingError that says when it was and what to do."""
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise TrainingError(
            f"out of memory {when()}: lower train.batch_size, model.block_size, model.n_layer, model.n_embd, "
            "model.kneser_ney or train.teacher_order; the last snapshot is kept"
        ) from error


def check_memory(needed: int, limit: MemoryLimit) -> None:
    """Raise TrainingError when there is less memory than is needed."""
    if needed > limit.bytes:
        raise TrainingError(
            f"training would need about {size(needed)} of memory, and {limit.words} {size(limit.bytes)}: "
            "lower train.batch_size, model.block_size, model.n_layer, model.n_embd, model.kneser_ney or "
            "train.teacher_order"
        )
