"""What a training asks of its optimizer beside torch's own methods."""

import inspect
from typing import Any

import torch
from torch import Tensor


class Optimizer(torch.optim.Optimizer):
    """An optimizer that says what it keeps of a weight, and that can be told on the device what to do.

    The memory estimate and the check of snapshots ask what is kept. A training whose iterations are queued on a device
    sets `rate` and `found_inf`, and so waits for no number.
    """

    rate: Tensor | None = None
    """The learning rate () float32, of which each group takes its `share`; None: the `lr` of each group."""
    found_inf: Tensor | None = None
    """1 where a step has to change nothing, else 0, () float32; a gradient scaler sets it."""
    grad_scale: Tensor | None = None
    """A gradient scaler sets it, to None: gradients are unscaled before they are clipped."""
    _step_supports_amp_scaling = True  # so that a gradient scaler sets these rather than wait for what it found

    # torch keeps its compiler away from these. For that it imports the compiler, which takes a second or two.
    add_param_group = inspect.unwrap(torch.optim.Optimizer.add_param_group)
    zero_grad = inspect.unwrap(torch.optim.Optimizer.zero_grad)
    state_dict = inspect.unwrap(torch.optim.Optimizer.state_dict)
    load_state_dict = inspect.unwrap(torch.optim.Optimizer.load_state_dict)

    def kept(self, weight: Tensor) -> dict[str, Any]:
        """Return what is kept of a weight, as it is before the first update: tensors and numbers, by their names.

        The names, types and shapes stay the same throughout a training. Of a weight on the meta device nothing is
        allocated.
        """
        raise NotImplementedError

    def scratch(self) -> int:
        """Return about how many numbers a step works with beside weights, gradients and what is kept."""
        return 0

    def learning_rate(self, group: dict[str, Any]) -> float | Tensor:
        """Return the learning rate of a group: a number, or () on the device."""
        number: float = group["lr"]
        return number if self.rate is None else self.rate * group["share"]

    def skips(self) -> bool:
        """Whether the step changes nothing; waits for the device where that is known there only."""
        return self.found_inf is not None and bool(self.found_inf.item())


def zeros_like(weight: Tensor) -> Tensor:
    """Return zeros of the shape of a weight, which may be on the meta device or sharded.

    Asked for a memory format, torch need not find out which it is: of a weight on the meta device it does so by sympy,
    whose import takes half a second.
    """
    return torch.zeros_like(weight, memory_format=torch.contiguous_format)
