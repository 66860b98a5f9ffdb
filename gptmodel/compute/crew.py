"""Threads that share out work, each of them computing alone.

At the sizes of a laptop torch's own threads cut single operations into pieces too small to pay; a crew cuts a batch
instead, so that each of its threads goes through the whole model with a part of it. torch lets go of Python's lock in
its operations, so the threads of a crew do run side by side.
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import Any, Generic, TypeVar

Part = TypeVar("Part")
Result = TypeVar("Result")


class Crew:
    """`size` threads, the calling one included; each other one calls `begin` before its first work."""

    def __init__(self, size: int, begin: Callable[[], object] | None = None) -> None:
        self.size = size
        self.begin = begin
        self._shared: _Shared[Any, Any] | None = None  # of the `map` under way
        self._others = ThreadPoolExecutor(size - 1, "crew", begin) if size > 1 else None

    def double(self) -> "Crew":
        """Return another crew like this one."""
        return Crew(self.size, self.begin)

    def together(self, calls: Sequence[Callable[[], Result]]) -> list[Result]:
        """Run the calls side by side and return their results in their order, or raise what the first of them raised.

        All have ended by then. The first call runs in the calling thread.
        """
        results, futures = [], []
        if self._others is not None:
            futures = [self._others.submit(call) for call in calls[1:]]
        try:
            for call in calls[: len(calls) - len(futures)]:
                results.append(call())  # noqa: PERF401  # a comprehension would be one more frame above the model
        finally:
            errors = [future.exception() for future in futures]  # waits
        for error in errors:
            if error is not None:
                raise error
        return [*results, *(future.result() for future in futures)]

    def map(self, work: Callable[[Part], Result], parts: Iterable[Part]) -> list[Result]:
        """Return the result of each part, in their order, or raise what the first wrong one raised.

        A thread takes a part when it has done its last, so that no more are there at once than threads.
        """
        self._shared = shared = _Shared(work, parts)
        try:
            self.together([shared.run] * self.size)
        finally:
            self._shared = None
        return [future.result() for future in shared.futures]

    def join(self) -> None:
        """From a thread of another crew: take parts of the `map` that is under way, until none is left."""
        if (shared := self._shared) is not None:
            shared.run()


class _Shared(Generic[Part, Result]):
    """Parts that any number of threads share out."""

    def __init__(self, work: Callable[[Part], Result], parts: Iterable[Part]) -> None:
        self.futures: list[Future[Result]] = []  # of the parts taken so far
        self._work, self._parts, self._lock = work, iter(parts), Lock()

    def run(self) -> None:
        """Do one part after the other; an error ends the sharing out, and is found in its future."""
        while (task := self._take()) is not None:
            future, part = task
            try:
                future.set_result(self._work(part))
            except BaseException as error:  # whoever waits for the results raises it
                future.set_exception(error)
                with self._lock:
                    self._parts = iter(())

    def _take(self) -> tuple[Future[Result], Part] | None:
        with self._lock:
            try:
                part = next(self._parts)
            except StopIteration:
                return None
            except BaseException as error:  # parts that cannot be made are as wrong as one that cannot be done
                self.futures.append(Future())
                self.futures[-1].set_exception(error)
                self._parts = iter(())
                return None
            self.futures.append(Future())
            return self.futures[-1], part


ALONE = Crew(1)
