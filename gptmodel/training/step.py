"""One training iteration, and nothing else: no data, no logging, no clock.

The tutorial's iteration is six lines:

    logits = model(idx)                                                   # forward
    loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()                                                      # update
    total_loss += loss.item()

`training_step` does the same, and beside it:
- the threads of a crew take a part of the batch each, and the gradients are added in the order of the parts: how many
  threads there are changes the result, and which of them is the first does not;
- the gradients come from `torch.autograd.grad`, so that threads do not add to one `.grad` at the same time: new ones
  take the place of the old, and nothing has to be set to zero;
- dropout draws its random numbers from a generator that is made for the iteration and the part;
- nothing is updated when the loss or the gradient is not finite; a large gradient is clipped if asked.

Shapes: B batch, T time, V vocab.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gptmodel.compute.place import Place
from gptmodel.compute.random import Stream, derived_seed, torch_generator
from gptmodel.config import Params
from gptmodel.errors import TrainingError
from gptmodel.nn.dropout import dropping_by
from gptmodel.optim.factory import learning_rate_at

Forward = Callable[[Tensor], Tensor]
"""A model, or what computes in its place: idx (B, T) -> logits (B, T, V)."""


@dataclass(frozen=True, kw_only=True)
class Update:
    """What decides an iteration beside the weights and the batch."""

    iteration: int
    learning_rate: float
    grad_clip: float  # largest norm; 0 = off
    dropout_seed: int | None = None  # None where the model has no dropout

    @classmethod
    def at(cls, iteration: int, params: Params) -> Self:
        """Return what the settings say of an iteration, counted from 0."""
        drops = params.model.dropout > 0.0 or params.model.ngram_dropout > 0.0
        return cls(
            iteration=iteration,
            learning_rate=learning_rate_at(iteration, params.train),
            grad_clip=params.train.grad_clip,
            dropout_seed=params.train.seed if drops else None,
        )


def training_step(
    model: Forward,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    batch: tuple[Tensor, Tensor],
    update: Update,
    place: Place,
) -> float:
    """Run forward and backward on idx and targets (B, T) and update the weights; return the loss in nats.

    A loss or a gradient that is not finite raises TrainingError before anything is updated.
    """
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]  # faster than asking the model
    tokens, crew, device = batch[1].numel(), place.crew, place.device.type

    def gradient(number: int, idx: Tensor, targets: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        half = torch.autocast(device, dtype=place.dtype, enabled=place.dtype != torch.float32)
        with dropout(update, number, place), half:
            logits = model(idx)  # (B', T, V)
            loss = F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), reduction="sum") / tokens
        return loss.detach(), torch.autograd.grad(scaler.scale(loss), weights)

    parts = zip(*(tensor.tensor_split(min(crew.size, len(tensor))) for tensor in batch), strict=True)
    results = crew.together([partial(gradient, number, *part) for number, part in enumerate(parts)])
    losses, gradients = zip(*results, strict=True)
    loss = torch.stack(losses).sum().item()
    if not math.isfinite(loss):
        raise not_finite("loss", loss, update)
    values = _added(weights, gradients)
    for group in optimizer.param_groups:
        group["lr"] = update.learning_rate * group["share"]
    scaler.unscale_(optimizer)
    norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(values)))  # get_total_norm in a third of its time
    if not scaler.is_enabled() and not torch.isfinite(norm):  # a scaler skips such an update itself
        raise not_finite("norm of the gradient", norm.item(), update)
    if update.grad_clip:
        torch._foreach_mul_(values, torch.clamp(update.grad_clip / (norm + 1e-6), max=1.0))
    scaler.step(optimizer)
    scaler.update()
    return loss


@contextmanager
def dropout(update: Update, part: int, place: Place) -> Iterator[None]:
    """Make the random numbers of dropout a function of the seed, the iteration and the part of the batch.

    On a GPU they are those of torch's generator of that device. A CUDA graph asks it at each replay.
    """
    if update.dropout_seed is None:
        yield
        return
    seed, stream, counter = update.dropout_seed, Stream.DROPOUT, update.iteration * place.crew.size + part
    if place.device.type == "cpu":
        with dropping_by(torch_generator(seed, stream, counter)):
            yield
        return
    # `torch.manual_seed` would seed the generators of all devices, which takes as long as a small kernel
    (torch.cuda if place.device.type == "cuda" else torch.mps).manual_seed(derived_seed(seed, stream, counter))
    yield


def _added(weights: list[nn.Parameter], parts: Sequence[Sequence[Tensor]]) -> list[Tensor]:
    """Set the `grad` of each weight to the sum of the parts; return all, of a sparse one the rows that are there."""
    first, *others = parts
    dense = [number for number, grad in enumerate(first) if not grad.is_sparse]
    for part in others:
        torch._foreach_add_([first[number] for number in dense], [part[number] for number in dense])
    for number, weight in enumerate(weights):
        weight.grad = first[number]
        if first[number].is_sparse:
            weight.grad = sum((part[number] for part in others), first[number]).coalesce()
    grads = [weight.grad for weight in weights if weight.grad is not None]
    return [grad.values() if grad.is_sparse else grad for grad in grads]


def not_finite(what: str, value: float, update: Update) -> TrainingError:
    """Return the error of a training whose loss, or the norm of its gradient, is no finite number."""
    return TrainingError(
        f"the {what} is {value} at iteration {update.iteration}, at a learning rate of {update.learning_rate:g}; "
        "nothing was updated: lower train.learning_rate, or set train.grad_clip to 1.0"
    )
