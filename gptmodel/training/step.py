"""One training iteration, and nothing else: no data, no logging, no clock.

The tutorial's iteration is six lines:

    logits = model(idx)                                                   # forward
    loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()                                                      # update
    total_loss += loss.item()

`training_step` does the same, and beside it:
- the batch is cut into `train.parts` parts, whose gradients are added up a fixed tree: how many parts there are changes
  the result, and which thread computes which of them, or when, does not;
- the gradients come from `torch.autograd.grad`, so that threads do not add to one `.grad` at the same time: new ones
  take the place of the old, and nothing has to be set to zero;
- dropout draws its random numbers from a generator that is made for the iteration and the part;
- nothing is updated when the loss or the gradient is not finite; a large gradient is clipped if asked.

Shapes: B batch, T time, V vocab.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional as F

from gptmodel.compute.place import Place
from gptmodel.compute.random import Stream, derived_seed, torch_generator
from gptmodel.compute.tree import TreeSum
from gptmodel.config import Params
from gptmodel.errors import CommonError
from gptmodel.nn.dropout import dropping_by
from gptmodel.nn.transformer import TransformerModel
from gptmodel.optim.factory import learning_rate_at

Nats = Callable[[TransformerModel, Tensor, Tensor], Tensor]
"""A model's loss: model, idx (B, T) and targets -> the nats of all targets together, ().

Targets are token ids (B, T) or, of a teacher, probabilities of each token (B, T, V).
"""


def nats_of_all(model: TransformerModel, idx: Tensor, targets: Tensor) -> Tensor:
    """Return the nats of all targets together; what `compiled` returns computes the same."""
    logits = model(idx)  # (B, T, V)
    return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(0, 1), reduction="sum")


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
        model = params.model
        drops = any((model.dropout, model.attention_dropout, model.ngram_dropout))
        return cls(
            iteration=iteration,
            learning_rate=learning_rate_at(iteration, params.train),
            grad_clip=params.train.grad_clip,
            dropout_seed=params.train.seed if drops else None,
        )


def training_step(
    model: TransformerModel,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    batch: tuple[Tensor, Tensor],
    update: Update,
    place: Place,
    nats: Nats = nats_of_all,
) -> float:
    """Run forward and backward on idx (B, T) and targets, and update the weights; return the loss in nats.

    Several processes are given the same batch, and do their share of its parts each. A loss or a gradient that is not
    finite raises TrainingError before anything is updated.
    """
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]  # faster than asking the model
    tokens, own = batch[0].numel(), place.world.share(place.parts)
    workers = min(place.crew.size, len(own))
    pieces = list(zip(*(tensor.tensor_split(place.parts) for tensor in batch), strict=True))
    sums = TreeSum(len(own), added)

    def work(worker: int) -> None:
        for number in own[worker::workers]:
            idx, targets = pieces[number]  # (B', T), (B', T) or (B', T, V)
            with dropout(update, number, place), place.autocast():
                loss = nats(model, idx, targets) / tokens
            sums.put(number - own.start, [*torch.autograd.grad(scaler.scale(loss), weights), loss.detach()])

    if workers == 1:
        work(0)
    else:
        place.crew.together([partial(work, worker) for worker in range(workers)])
    *gradients, mean = place.world.summed(sums.total())
    loss = mean.item()
    if not math.isfinite(loss):
        raise not_finite("loss", loss, update)
    _update(optimizer, scaler, weights, gradients, update)
    return loss


def _update(
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    weights: list[Tensor],
    gradients: list[Tensor],
    update: Update,
) -> None:
    """Clip the gradients if asked, and update the weights; TrainingError, and no update, where they are not finite."""
    gradients = [gradient.coalesce() if gradient.is_sparse else gradient for gradient in gradients]
    values = [gradient.values() if gradient.is_sparse else gradient for gradient in gradients]
    for weight, gradient in zip(weights, gradients, strict=True):
        weight.grad = gradient
    scaler.unscale_(optimizer)
    norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(values)))  # get_total_norm in a third of its time
    clip_and_update(optimizer, scaler, values, norm, update)


def clip_and_update(
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    gradients: list[Tensor],
    norm: Tensor,
    update: Update,
) -> None:
    """Clip gradients of this norm () if asked, and update the weights; TrainingError, and no update, if not finite."""
    if not scaler.is_enabled() and not torch.isfinite(norm):  # a scaler skips such an update itself
        raise not_finite("norm of the gradient", norm.item(), update)
    if update.grad_clip:
        torch._foreach_mul_(gradients, torch.clamp(update.grad_clip / (norm + 1e-6), max=1.0))
    for group in optimizer.param_groups:
        group["lr"] = update.learning_rate * group["share"]
    scaler.step(optimizer)
    scaler.update()


@contextmanager
def dropout(update: Update, part: int, place: Place) -> Iterator[None]:
    """Make the random numbers of dropout a function of the seed, the iteration and the part of the batch.

    On a GPU they are those of torch's generator of that device. A CUDA graph asks it at each replay.
    """
    if update.dropout_seed is None:
        yield
        return
    seed, stream, counter = update.dropout_seed, Stream.DROPOUT, update.iteration * place.parts + part
    if place.device.type == "cpu":
        with dropping_by(torch_generator(seed, stream, counter)):
            yield
        return
    # `torch.manual_seed` would seed the generators of all devices, which takes as long as a small kernel
    (torch.cuda if place.device.type == "cuda" else torch.mps).manual_seed(derived_seed(seed, stream, counter))
    yield


def added(first: list[Tensor], second: list[Tensor]) -> list[Tensor]:
    """Return the sums of two lists of tensors, dense ones in place of those of the first."""
    dense = [number for number, tensor in enumerate(first) if not tensor.is_sparse]
    torch._foreach_add_([first[number] for number in dense], [second[number] for number in dense])
    return [a + b if a.is_sparse else a for a, b in zip(first, second, strict=True)]


def not_finite(what: str, value: float, update: Update) -> CommonError:
    """Return the error of a training whose loss, or the norm of its gradient, is no finite number."""
    return CommonError(
        f"the {what} is {value} at iteration {update.iteration}, at a learning rate of {update.learning_rate:g}; "
        "nothing was updated: lower train.learning_rate, or set train.grad_clip to 1.0"
    )
