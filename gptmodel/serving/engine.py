"""One thread computes for everybody, by turns: a job does one step, then the next job does.

So a job's numbers do not depend on who else is served, and none waits for another to end. What a job makes is taken by
the event loop that asked for it. A job whose results nobody takes is passed over, and one that is cancelled ends before
its next turn.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Generator
from typing import Generic, TypeVar

import torch

T = TypeVar("T")
JOBS = 16
BACKLOG = 64
"""Results of a job that may wait to be taken."""
UNREAD_SECONDS = 60.0
"""A job with such a backlog for so long loses its place where there is none for another."""
STOP_SECONDS = 0.3
TELL_SECONDS = 0.02
"""Results that come faster are told of together: waking a loop for each costs a fifth of a small model's token."""

Work = Generator[T, None, None]


class BusyError(Exception):
    """There are as many jobs as are taken."""


class UnreadError(Exception):
    """Nobody took the results of a job for a long time, and another needed its place."""


class StoppedError(Exception):
    """The engine takes no more jobs, and ends those it has."""


class Job(Generic[T]):
    """A piece of work under way; `results` is for the event loop in which it was submitted."""

    def __init__(self, engine: "Engine", work: Work[T]) -> None:
        self._engine, self.work = engine, work
        self.waiting: deque[T] = deque()
        self.ended, self.cancelled = False, False
        self.error: Exception | None = None
        self.told = 0.0
        self._loop, self._news = asyncio.get_running_loop(), asyncio.Event()

    async def results(self) -> AsyncIterator[list[T]]:
        """Yield what was made since the last time, and raise what the work raises."""
        try:
            while True:
                await self._news.wait()
                self._news.clear()
                new, ended = self._engine.take(self)
                if new:
                    yield new
                if ended:
                    break
        finally:  # also where the listener stops listening
            self.cancel()
        if self.error is not None:
            raise self.error

    def cancel(self) -> None:
        """End the work before its next turn."""
        self._engine.cancel(self)

    def tell(self) -> None:
        """Wake who waits for results; nobody does once its loop has ended."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._news.set)


class Engine:
    """Takes at most JOBS jobs, and gives each a turn after the other."""

    def __init__(self) -> None:
        self._stopped = False
        self._jobs: deque[Job[object]] = deque()  # the next turn is the first one's that can take it
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    @property
    def jobs(self) -> int:
        """How many there are."""
        return len(self._jobs)

    def submit(self, work: Work[T]) -> Job[T]:
        """Take a job; BusyError if there are too many, StoppedError after `stop`."""
        job = Job(self, work)
        with self._changed:
            if self._stopped:
                raise StoppedError
            if len(self._jobs) >= JOBS and not self._drop_unread():
                raise BusyError
            self._jobs.append(job)  # type: ignore[arg-type]
            self._changed.notify()
        return job

    def _drop_unread(self) -> bool:
        """End a job whose results nobody takes, if there is one."""
        now = time.monotonic()
        for job in self._jobs:
            if not job.cancelled and len(job.waiting) >= BACKLOG and now - job.told > UNREAD_SECONDS:
                self._jobs.remove(job)
                job.work.close()  # it has no turn at the moment: it was told of after its last
                job.ended, job.error = True, UnreadError()
                job.tell()
                return True
        return False

    def take(self, job: Job[T]) -> tuple[list[T], bool]:
        """Return what a job made and nobody took yet, and whether it has ended."""
        with self._changed:
            new = list(job.waiting)
            job.waiting.clear()
            self._changed.notify()
            return new, job.ended

    def cancel(self, job: Job[T]) -> None:
        """Let a job have no more turns."""
        with self._changed:
            job.cancelled = True
            self._changed.notify()

    def stop(self) -> None:
        """End all jobs at once, each with a StoppedError, and the thread after the turn under way."""
        with self._changed:
            self._stopped = True
            for job in self._jobs:
                job.ended, job.error = True, StoppedError()
                job.tell()
            self._jobs.clear()
            self._changed.notify()
        self._thread.join(STOP_SECONDS)

    def _run(self) -> None:
        torch.set_num_threads(1)  # a thread has as many as there are cores until it is told otherwise
        while (job := self._next()) is not None:
            self._turn(job)

    def _next(self) -> Job[object] | None:
        """Wait for a job that can take a turn, and put it last; None after `stop`."""
        with self._changed:
            while not self._stopped:
                for _ in range(len(self._jobs)):
                    job = self._jobs[0]
                    self._jobs.rotate(-1)
                    if job.cancelled or len(job.waiting) < BACKLOG:
                        return job
                self._changed.wait()
        return None

    def _turn(self, job: Job[object]) -> None:
        if job.cancelled:
            self._end(job, None)
            return
        try:
            result = next(job.work)
        except StopIteration:
            self._end(job, None)
        except Exception as error:
            self._end(job, error)
        else:
            with self._changed:
                job.waiting.append(result)
                now = time.monotonic()
                # else its next turn tells, or its end
                due = len(job.waiting) >= BACKLOG or now - job.told > TELL_SECONDS
                job.told = now if due else job.told
            if due:
                job.tell()

    def _end(self, job: Job[object], error: Exception | None) -> None:
        job.work.close()
        with self._changed:
            if self._stopped:
                return
            self._jobs.remove(job)
            job.ended, job.error = True, error
        job.tell()
