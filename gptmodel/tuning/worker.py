"""A process that trains trials, as the other workers of a study see it: whether it lives."""

import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

from filelock import FileLock, Timeout

from gptmodel.tuning.storage import FAILURES, HEARTBEAT_SECONDS


class Worker:
    """This process. It holds a lock file while it lives, and says in the database that it does for those elsewhere."""

    def __init__(self, runs: Path) -> None:
        self._folder = runs / "workers"
        self.name = uuid.uuid4().hex
        self._lock = FileLock(self._folder / f"{self.name}.lock")

    def __enter__(self) -> "Worker":
        self._folder.mkdir(parents=True, exist_ok=True)
        self._lock.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()
        self.forget(self.name)

    def is_dead(self, name: str) -> bool:
        """Whether a worker on this machine has died; of one elsewhere, the database knows by its silence."""
        path = self._folder / f"{name}.lock"
        if name == self.name or not path.is_file():
            return False
        with suppress(Timeout), FileLock(path, timeout=0):
            return True
        return False

    def forget(self, name: str) -> None:
        """Remove what a dead worker left."""
        (self._folder / f"{name}.lock").unlink(missing_ok=True)


@contextmanager
def beating(beat: Callable[[], None]) -> Iterator[None]:
    """Call `beat` every few seconds while the block runs; a database that does not answer is asked again later."""
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(HEARTBEAT_SECONDS):
            with suppress(*FAILURES):
                beat()

    thread = threading.Thread(target=run, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
