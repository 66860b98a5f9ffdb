"""Plain stochastic gradient descent, as in the tutorial."""

import inspect
from typing import Any

import torch
from torch import Tensor

from gptmodel.optim.base import Optimizer


class SGD(torch.optim.SGD, Optimizer):
    """torch's SGD without momentum: nothing is kept of a weight (Robbins and Monro 1951)."""

    def kept(self, weight: Tensor) -> dict[str, Any]:  # noqa: ARG002
        return {}

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # noqa: ARG002  # torch's signature
        """Update every weight."""
        if self.rate is None:
            if not self.skips():
                inspect.unwrap(torch.optim.SGD.step)(self)  # the wrapper would import torch's compiler
            return
        for group in self.param_groups:
            torch._fused_sgd_(
                group["params"],
                [weight.grad for weight in group["params"]],
                [],
                weight_decay=group["weight_decay"],
                momentum=0.0,
                lr=self.learning_rate(group),
                dampening=0.0,
                nesterov=False,
                maximize=False,
                is_first_step=False,
                found_inf=self.found_inf,
            )
