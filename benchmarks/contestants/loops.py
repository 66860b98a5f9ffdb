"""The training loops that are compared: ours, and what a user would otherwise run, around models of the same sizes.

A contestant is made in a process of its own, since some change how the process allocates and computes.

Shapes: B batch, T time, V vocab.
"""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.contestants.models import GRAD_CLIP, PlainGPT, huggingface_model, litgpt_model, our_model, our_params
from benchmarks.contestants.peers import PEERS, version
from benchmarks.contestants.sizes import VOCAB, Sizes

if TYPE_CHECKING:
    from gptmodel.compute.ranks import World

LEARNING_RATE = 1e-3
Train = Callable[[int], None]
"""Trains this many iterations."""


def tokens(count: int = 1_000_000) -> np.ndarray:
    """Token ids to train on, (count,) uint16: their values do not matter to the time."""
    return np.random.default_rng(0).integers(VOCAB, size=count).astype(np.uint16)


def sampled(data: np.ndarray, sizes: Sizes) -> tuple[Tensor, Tensor]:
    """Return a batch as nanoGPT's loop takes it: random starts, a slice for each row."""
    starts = torch.randint(len(data) - sizes.block_size, (sizes.batch_size,)).tolist()
    rows = [data[start : start + sizes.block_size + 1].astype(np.int64) for start in starts]
    batch = torch.stack([torch.from_numpy(row) for row in rows])  # (B, T + 1)
    return batch[:, :-1], batch[:, 1:]


def eager_loop(model: nn.Module, sizes: Sizes, *, forward: Callable[[Tensor], Tensor] | None = None) -> Train:
    """Return the usual loop around a model, with PyTorch's default AdamW, and clipping where nanoGPT clips.

    `forward` maps idx (B, T) to logits (B, T, V); without it the model does.
    """
    logits: Callable[[Tensor], Tensor] = forward or model
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
    data = tokens()

    def train(iterations: int) -> None:
        for _ in range(iterations):
            idx, targets = sampled(data, sizes)
            loss = F.cross_entropy(logits(idx).reshape(-1, VOCAB), targets.reshape(-1))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            if sizes.like_nanogpt:
                nn.utils.clip_grad_norm_(model.parameters(), GRAD_CLIP)
            optimizer.step()

    return train


def plain(sizes: Sizes, threads: int, dtype: torch.dtype = torch.float32) -> Train:
    """A plain eager loop of the same model; with another dtype, under torch's autocast."""
    torch.set_num_threads(threads)
    model = PlainGPT(sizes)

    def logits(idx: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
            scores: Tensor = model(idx)
        return scores.float()

    return eager_loop(model, sizes, forward=logits)


def huggingface(sizes: Sizes, threads: int) -> Train:
    """The loop around GPT-2 of Hugging Face transformers."""
    torch.set_num_threads(threads)
    model = huggingface_model(sizes)
    return eager_loop(model, sizes, forward=lambda idx: model(idx).logits)


def litgpt(sizes: Sizes, threads: int) -> Train:
    """The loop around GPT of litgpt."""
    torch.set_num_threads(threads)
    return eager_loop(litgpt_model(sizes), sizes)


def ours(
    sizes: Sizes,
    threads: int,
    dtype: str = "float32",
    *,
    compiling: bool = False,
    parts: int = 0,
    world: "World | None" = None,
) -> Train:
    """The loop of gptmodel: its batches, its step, its optimizer; `compiling`, with train.compile.

    A batch is cut into as many parts as there are threads unless told; several processes share them out.
    """
    from gptmodel.compute.place import Place
    from gptmodel.compute.ranks import World
    from gptmodel.data.batches import training_batch
    from gptmodel.optim.factory import build_optimizer
    from gptmodel.training.compiled import compiled
    from gptmodel.training.step import Update, nats_of_all, training_step

    params = our_params(sizes, parts=parts or threads, device="cpu", dtype=dtype, compile=compiling)
    runtime = params.runtime.model_copy(update={"threads": threads})
    place = Place.of(params.model_copy(update={"runtime": runtime}), "train", world or World())
    model = our_model(params)
    nats = compiled(model, params.train, place) if place.compiler else nats_of_all
    optimizer = build_optimizer(model, params.train, place.crew)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    data, trained = tokens(), 0
    last = params.train.max_iters  # the learning rate's schedule ends there, a benchmark need not

    def train(iterations: int) -> None:
        nonlocal trained
        for iteration in range(trained, trained + iterations):
            batch = training_batch(data, params.train.seed, iteration, sizes.batch_size, sizes.block_size)
            update = Update.at(min(iteration, last), params)
            training_step(model, optimizer, scaler, batch, update, place, nats)
        trained += iterations

    return train


CONTESTANTS: dict[str, Callable[[Sizes, int], Train]] = {
    "gptmodel": ours,
    "gptmodel, compiled": partial(ours, compiling=True),
    "gptmodel, bfloat16": partial(ours, dtype="bfloat16"),
    "gptmodel, compiled, bfloat16": partial(ours, dtype="bfloat16", compiling=True),
    "plain loop": plain,
    "plain loop, bfloat16": partial(plain, dtype=torch.bfloat16),
    "HF GPT-2": huggingface,
    "litgpt": litgpt,
}


def contestants() -> list[str]:
    """Return the names of those whose libraries are installed."""
    return [name for name in CONTESTANTS if name not in PEERS or version(PEERS[name]) is not None]
