"""A sum whose terms are added up a fixed tree, whoever computes them and whenever they come.

Numbers of finite precision give another sum in another order. Here the order is a function of how many
there are.
"""

from collections.abc import Callable
from functools import cache
from threading import Lock
from typing import Generic, TypeVar

Term = TypeVar("Term")
Span = tuple[int, int]
"""Terms `start` to `stop` - 1, as (start, stop)."""


class TreeSum(Generic[Term]):
    """The sum of `count` terms; threads may put them at the same time, in any order.

    The terms are split at the largest power of two below their number, and both halves in the same way. So a half of
    as many terms as a power of two, which starts at a multiple of it, can be summed elsewhere and put in as one term:
    the additions stay the same. At most a term for each thread and one for each level of the tree are held at once.
    `add` may change its first argument.
    """

    def __init__(self, count: int, add: Callable[[Term, Term], Term]) -> None:
        self._add, self._halves, self._lock = add, _halves(count), Lock()
        self._waiting: dict[Span, Term] = {}
        self._total: list[Term] = []

    def put(self, number: int, term: Term) -> None:
        """Add the term of that number, from 0, to all that it completes."""
        span = (number, number + 1)
        while span in self._halves:
            left, right = self._halves[span]
            other = right if span == left else left
            with self._lock:
                if other not in self._waiting:
                    self._waiting[span] = term
                    return
                second = self._waiting.pop(other)
            term = self._add(term, second) if span == left else self._add(second, term)
            span = (left[0], right[1])
        self._total.append(term)

    def total(self) -> Term:
        """Return the sum; all terms have to be there."""
        (total,) = self._total
        return total


@cache
def _halves(count: int) -> dict[Span, tuple[Span, Span]]:
    """Return, for each node of the tree but the root, the two halves of what it is a half of."""
    halves: dict[Span, tuple[Span, Span]] = {}
    spans = [(0, count)]
    while spans:
        start, stop = spans.pop()
        if stop - start > 1:
            middle = start + (1 << (stop - start - 1).bit_length() - 1)
            pair = (start, middle), (middle, stop)
            halves |= dict.fromkeys(pair, pair)
            spans += pair
    return halves
