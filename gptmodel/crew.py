"""Threads that share out work, each of them computing alone.

At the sizes of a laptop torch's own threads cut single operations into pieces too small to pay; a crew cuts a batch
instead, so that each of its threads goes through the whole model with a part of it. torch lets go of Python's lock in
its operations, so the threads of a crew do run side by side.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Part = TypeVar("Part")
Result = TypeVar("Result")


class Crew:
    """`size` threads, the calling one included; each other one calls `begin` before its first work."""

    def __init__(self, size: int, begin: Callable[[], object] | None = None) -> None:
        self.size = size
        self.begin = begin
        self._others = ThreadPoolExecutor(size - 1, "crew", begin) if size > 1 else None

    def double(self) -> "Crew":
        """Return another crew like this one."""
        return Crew(self.size, self.begin)

    def together(self, calls: Sequence[Callable[[], Result]]) -> list[Result]:
        """Run the calls side by side and return their results in their order, or raise what the first of them raised.

        All have ended by then. The first call runs in the calling thread.
        """
        if self._others is None:
            return [call() for call in calls]
        waiting = [self._others.submit(call) for call in calls[1:]]
        try:
            first = [call() for call in calls[:1]]
        finally:
            raised = [future.exception() for future in waiting]  # waits
        for error in raised:
            if error is not None:
                raise error
        return [*first, *(future.result() for future in waiting)]

    def map(self, work: Callable[[Part], Result], parts: Iterable[Part]) -> Iterator[Result]:
        """Yield the result of each part, in their order; no more than `size` parts are taken ahead."""
        left = iter(parts)
        while taken := list(islice(left, self.size)):
            yield from self.together([lambda part=part: work(part) for part in taken])  # type: ignore[misc]


ALONE = Crew(1)
