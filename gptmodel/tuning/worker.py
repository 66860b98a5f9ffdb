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

    def __init__(self, runs: Path, study: str) -> None:
        self._folder, self._study = runs / "workers", study
        self.name = f"{study}@{uuid.uuid4().hex}"  # which no name of a study has
        self._lock = FileLock(self._path(self.name))

    def __enter__(self) -> "Worker":
        self._folder.mkdir(parents=True, exist_ok=True)
        self._lock.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()
        if kind is None:  # else it may be in the middle of a trial, and is as good as dead
            self._path(self.name).unlink(missing_ok=True)

    def is_dead(self, name: str) -> bool:
        """Whether a worker of this project has died; of one elsewhere, the database knows by its silence."""
        path = self._path(name)
        if name == self.name or not path.is_file():
            return False
        with suppress(Timeout), FileLock(path, timeout=0):
            return True
        return False

    def bury(self) -> None:
        """Remove what the dead workers of the study left, when no trial is theirs any more."""
        for path in self._folder.glob(f"{self._study}@*.lock"):
            if self.is_dead(path.stem):
                path.unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.lock"


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
