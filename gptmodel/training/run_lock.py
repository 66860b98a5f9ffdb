"""Locks: no two processes train the same model at once, and two trainings that end at once leave the files of one."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import filelock

from gptmodel.errors import AlreadyRunning
from gptmodel.training.snapshot import SnapshotStore

A_MOMENT = 0.3  # seconds, in which a lock that `gptmodel doctor` looks at is free again


@contextmanager
def locked(path: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold a lock file while the block runs, and remove it then; wait for another process, or raise AlreadyRunning.

    Who opened the file before it was removed has no lock by it: filelock looks whether the file still has a name, and
    tries again.
    """
    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=-1 if wait else A_MOMENT)
    except filelock.Timeout:
        raise AlreadyRunning(
            f"the same training is already running in another process (its lock is {path}); wait until it ends, or "
            "stop it and run this again to go on from there (`gptmodel doctor` names the process)"
        ) from None
    try:
        yield
    finally:
        with suppress(OSError):  # Windows removes no file that is open
            path.unlink()
        lock.release()


def give_up(runs: Path, name: str) -> None:
    """Remove the state of a training, unless that is under way."""
    if (runs / name).is_dir():
        with suppress(AlreadyRunning), locked(runs / f"{name}.lock"):
            SnapshotStore(runs / name).clear()
