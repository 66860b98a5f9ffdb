"""Plain stochastic gradient descent, as in the tutorial."""

from typing import Any

import torch
from torch import Tensor

from gptmodel.optim.base import Optimizer


class SGD(torch.optim.SGD, Optimizer):
    """torch's SGD without momentum: nothing is kept of a weight (Robbins and Monro 1951)."""

    def kept(self, weight: Tensor) -> dict[str, Any]:  # noqa: ARG002
        return {}
