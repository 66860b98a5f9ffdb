"""Snapshots: the state a killed run continues from, kept outside DVC's outs.

A snapshot belongs to a fingerprint of everything that decides the result (params, data, code, platform); one of
another fingerprint is never looked at. The newest two are kept, each with its sha256, and a damaged one is passed over.
"""

import hashlib
import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import torch

from gptmodel.checkpoint.archive import ArchiveError, load_archive
from gptmodel.files import CHUNK_BYTES, atomic_writer

MAGIC = b"gptmodel snapshot 1\n"
KEPT = 2
SNAPSHOTS = "snapshot-*.pt"


class SnapshotStore:
    """The snapshots of one fingerprint, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, iteration: int, state: dict[str, Any]) -> None:
        """Write a snapshot, whole or not at all, and drop all but it and the newest before it.

        Those of later iterations were passed over when the run was opened: they are damaged, and would only outlast it.
        """
        head, content = snapshot_bytes(state)
        written = self.path(iteration)
        with atomic_writer(written) as stream:
            stream.write(head)
            stream.write(content)
        snapshots = self._newest_first()
        place = snapshots.index(written)
        useless = [*snapshots[:place], *snapshots[place + KEPT :]]
        for path in [*useless, *self.folder.glob(".snapshot-*.tmp")]:  # the latter of killed saves
            path.unlink(missing_ok=True)

    def path(self, iteration: int) -> Path:
        """Return where the snapshot after so many iterations is, if it is kept."""
        return self.folder / f"snapshot-{iteration:010d}.pt"

    def load_newest(self, fits: Callable[[dict[str, Any]], bool] = lambda _: True) -> dict[str, Any] | None:
        """Return the newest snapshot that is whole and for which `fits` is true, or None."""
        for path in self._newest_first():
            try:
                with path.open("rb") as stream:
                    state = read_snapshot(stream)
            except OSError:
                continue
            if state is not None and fits(state):
                return state
        return None

    def clear(self) -> None:
        """Forget all of them, and then the rest of the folder: the run they would continue has ended.

        A kill in the middle leaves no snapshot that a run with a new tracking journal would continue from.
        """
        for path in self._newest_first():
            path.unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _newest_first(self) -> list[Path]:
        return sorted(self.folder.glob(SNAPSHOTS), reverse=True)


def snapshot_bytes(state: dict[str, Any]) -> tuple[bytes, memoryview]:
    """Return the first line of a snapshot and the rest: of a large model, a copy takes as much memory as the state."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return _head(hashlib.sha256(buffer.getbuffer()).hexdigest()), buffer.getbuffer()


def _head(sha256: str) -> bytes:
    return MAGIC + sha256.encode() + b"\n"


def read_snapshot(stream: IO[bytes]) -> dict[str, Any] | None:
    """Return the state that `snapshot_bytes` was made of, or None if the bytes are damaged.

    They are not taken into memory as they are: a training that goes on may need no more of it than one that begins.
    """
    head, sha256 = stream.read(len(_head(64 * "0"))), hashlib.sha256()
    while chunk := stream.read(CHUNK_BYTES):
        sha256.update(chunk)
    if head != _head(sha256.hexdigest()):
        return None
    try:
        state = load_archive(stream)  # which is found from its end
    except ArchiveError:
        return None
    return state if isinstance(state, dict) else None
