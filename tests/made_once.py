"""What is made once for all tests, whichever worker of pytest-xdist they run in: a pipeline, a migrated database."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Return a folder that the first worker to need it has filled; the others wait for that. Do not change it."""
    base = factory.getbasetemp()  # each worker's own, below that of the session
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    marker = folder.with_name(f"{name}.done")
    with FileLock(f"{folder}.lock"):
        if not marker.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of a worker that failed to make it
            folder.mkdir()
            make(folder)
            marker.touch()
    return folder
