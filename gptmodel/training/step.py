"""One training iteration, and nothing else: no data, no logging, no clock."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gptmodel.errors import TrainingError


@dataclass(frozen=True, kw_only=True)
class Update:
    """What one iteration does with the gradient."""

    iteration: int
    learning_rate: float
    grad_clip: float  # largest norm; 0 = off


def training_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    batch: tuple[Tensor, Tensor],
    update: Update,
    dtype: torch.dtype = torch.float32,
) -> float:
    """Zero the gradients, run forward and backward on idx and targets (B, T), update; return the loss in nats.

    A loss or a gradient that is not finite raises TrainingError before anything is updated.
    """
    idx, targets = batch
    for group in optimizer.param_groups:
        group["lr"] = update.learning_rate * group["share"]
    optimizer.zero_grad(set_to_none=True)
    with torch.autocast(idx.device.type, dtype=dtype, enabled=dtype != torch.float32):
        logits = model(idx)  # (B, T, V)
        loss = F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())
    value = loss.item()
    if not torch.isfinite(loss):
        raise _not_finite("loss", value, update)
    scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
    scaler.unscale_(optimizer)
    gradients = _gradients(model)
    norm = nn.utils.get_total_norm(gradients)
    if not scaler.is_enabled() and not torch.isfinite(norm):  # a scaler skips such an update itself
        raise _not_finite("norm of the gradient", norm.item(), update)
    if update.grad_clip:
        torch._foreach_mul_(gradients, torch.clamp(update.grad_clip / (norm + 1e-6), max=1.0))
    scaler.step(optimizer)
    scaler.update()
    return value


def _gradients(model: nn.Module) -> list[Tensor]:
    """Return all gradients; of a sparse one the rows that are there, each once."""
    for p in model.parameters():
        if p.grad is not None and p.grad.is_sparse:
            p.grad = p.grad.coalesce()
    found = [p.grad for p in model.parameters() if p.grad is not None]
    return [grad.values() if grad.is_sparse else grad for grad in found]


def _not_finite(what: str, value: float, update: Update) -> TrainingError:
    return TrainingError(
        f"the {what} is {value} at iteration {update.iteration}, at a learning rate of {update.learning_rate:g}; "
        "nothing was updated: lower train.learning_rate, or set train.grad_clip to 1.0"
    )
