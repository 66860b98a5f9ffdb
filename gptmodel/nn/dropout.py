"""Dropout whose random numbers come from a generator that the calling thread was given, and cost little on a CPU.

Each 64 random bits decide on four numbers, which takes a third of the time of `torch.nn.functional.dropout`. Threads
that train side by side draw from a generator each: their results do not depend on who comes first. A compiler knows no
generators: a compiled function is given what it would draw.
"""

import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

STEPS = 1 << 16  # a probability is a multiple of 1 / STEPS

Draw = Callable[[int, float], Tensor]
"""count, dropout -> which of `count` numbers are kept, (count,): each is dropped with probability `dropout`."""

_own = threading.local()


def drawn(count: int, dropout: float, generator: torch.Generator | None = None) -> Tensor:
    """Draw which of `count` numbers are kept, (count,); without a generator by torch's default one."""
    bits = torch.empty(-(-count // 4), dtype=torch.int64).random_(-(2**63), None, generator=generator)
    # uniform over -STEPS / 2 ... STEPS / 2 - 1
    return bits.view(torch.int16)[:count] >= _steps(dropout) - STEPS // 2  # (count,)


def _steps(dropout: float) -> int:
    """Return a probability below 1 in steps, of which at least one is left: what is kept grows by a finite factor."""
    return min(round(dropout * STEPS), STEPS - 1)


@contextmanager
def dropping_by(generator: torch.Generator) -> Iterator[None]:
    """Have the dropout of this thread draw from `generator`, on a CPU."""
    with dropping_as(partial(drawn, generator=generator)):
        yield


@contextmanager
def dropping_as(draw: Draw) -> Iterator[None]:
    """Have the dropout of this thread keep what `draw` says, on a CPU."""
    before = draw_of_thread()
    _own.draw = draw
    try:
        yield
    finally:
        _own.draw = before


def draw_of_thread() -> Draw:
    """Return what tells the dropout of this thread what to keep, on a CPU: torch's default generator, unless told."""
    return getattr(_own, "draw", drawn)


def kept(like: Tensor, shape: tuple[int, ...], dropout: float) -> Tensor:
    """Return factors of `shape` with like's device and dtype: 0 with probability `dropout`, else 1 / (1 - dropout)."""
    if like.device.type != "cpu":
        return F.dropout(like.new_ones(shape), dropout)
    keep = draw_of_thread()(math.prod(shape), dropout).view(shape)
    return keep.to(like.dtype).mul_(STEPS / (STEPS - _steps(dropout)))


class Dropout(nn.Dropout):
    """Dropout (Srivastava et al. 2014): in training a share p of the numbers is 0, and the rest grows to make up."""

    def forward(self, x: Tensor) -> Tensor:
        """Map x to the same shape; as it is outside of training."""
        if x.device.type != "cpu":
            return F.dropout(x, self.p, self.training)
        return x * kept(x, x.shape, self.p) if self.training and self.p else x
