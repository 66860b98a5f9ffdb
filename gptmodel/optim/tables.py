"""Adam for tables of which a batch sees few rows, those of n-grams, with a floor under what it divides by."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from gptmodel.optim.base import Optimizer, zeros_like

EPSILON = 1e-8  # under the floor: a gradient of zeros has no size
MEMORY = 0.99  # of the size of gradients


class TableAdam(Optimizer):
    """Adam (Kingma and Ba 2015) that updates a row, and its averages, when the row has a gradient.

    Plain Adam moves a row by the learning rate at each visit, however small its gradient: an n-gram that occurs three
    times moves as far as one that occurs three hundred times in as many visits, and the table memorises. Here the root
    of the average square is raised by `floor` times the size that gradients have over all rows a batch sees (their root
    mean square, averaged over iterations). Rows of frequent n-grams, whose gradients are sums over many tokens, move as
    with Adam, and those of rare ones in proportion to what was seen of them. `floor` 0 is lazy Adam.

    Gradients are sparse and coalesced, (n, C) rows of a table (V, C).
    """

    def __init__(
        self, groups: Iterable[dict[str, Any]], *, lr: float, betas: tuple[float, float], floor: float
    ) -> None:
        super().__init__(groups, {"lr": lr, "betas": betas, "floor": floor})

    def kept(self, weight: Tensor) -> dict[str, Any]:
        return {"step": 0, "exp_avg": zeros_like(weight), "exp_avg_sq": zeros_like(weight), "size": 0.0}

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # noqa: ARG002  # torch's signature
        """Update the rows that have a gradient."""
        if self.skips():
            return
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self._update(p, group)

    def _update(self, p: Tensor, group: dict[str, Any]) -> None:
        if not (state := self.state[p]):
            state |= self.kept(p)
        rows, grad = p.grad.indices()[0], p.grad.values()  # type: ignore[union-attr]  # (n,), (n, C)
        state["step"] += 1
        state["size"] = MEMORY * state["size"] + (1.0 - MEMORY) * grad.square().mean().sqrt().item()
        (beta1, beta2), step = group["betas"], state["step"]
        average, square = state["exp_avg"][rows], state["exp_avg_sq"][rows]  # (n, C)
        average.lerp_(grad, 1.0 - beta1)
        square.mul_(beta2).addcmul_(grad, grad, value=1.0 - beta2)
        state["exp_avg"][rows], state["exp_avg_sq"][rows] = average, square
        floor = group["floor"] * state["size"] / (1.0 - MEMORY**step) + EPSILON
        divisor = square.div_(1.0 - beta2**step).sqrt_().add_(floor)
        p.index_add_(0, rows, average.div_(divisor), alpha=-group["lr"] / (1.0 - beta1**step))
