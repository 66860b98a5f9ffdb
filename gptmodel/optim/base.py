"""What a training asks of its optimizer beside torch's own methods."""

from typing import Any

import torch
from torch import Tensor


class Optimizer(torch.optim.Optimizer):
    """An optimizer that says what it keeps of a weight: the memory estimate and the check of snapshots ask it."""

    def kept(self, weight: Tensor) -> dict[str, Any]:
        """Return what is kept of a weight, as it is before the first update: tensors and numbers, by their names.

        The names, types and shapes stay the same throughout a training. Of a weight on the meta device nothing is
        allocated.
        """
        raise NotImplementedError

    def scratch(self) -> int:
        """Return about how many numbers a step works with beside weights, gradients and what is kept."""
        return 0
