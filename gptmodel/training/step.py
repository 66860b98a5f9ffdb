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

    A loss that is not finite raises TrainingError before anything is updated.
    """
    idx, targets = batch
    for group in optimizer.param_groups:
        group["lr"] = update.learning_rate
    optimizer.zero_grad(set_to_none=True)
    with torch.autocast(idx.device.type, dtype=dtype, enabled=dtype != torch.float32):
        logits = model(idx)  # (B, T, V)
        loss = F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())
    value = loss.item()
    if not torch.isfinite(loss):
        raise TrainingError(
            f"the loss is {value} at iteration {update.iteration}, at a learning rate of {update.learning_rate:g}; "
            "nothing was updated: lower train.learning_rate, or set train.grad_clip to 1.0"
        )
    scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
    if update.grad_clip:
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), update.grad_clip)
    scaler.step(optimizer)
    scaler.update()
    return value
