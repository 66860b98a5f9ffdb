"""Files that are either whole or absent, their digests, and JSON in one byte-stable form."""

import errno
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

try:
    import fcntl
except ImportError:  # Windows, where nobody can remove a file that is open
    fcntl = None  # type: ignore[assignment]

CHUNK_BYTES = 1 << 20


@contextmanager
def atomic_writer(path: Path) -> Iterator[IO[bytes]]:
    """Open a binary file beside `path` that takes its place only when the block ends without an error.

    The bytes are on the disk before the rename, and the rename before the return: after a power cut `path`
    holds the old content or the new, never a part.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _unused(path.parent, path)
    with naming(path):
        stream = temporary.open("x+b")
    try:
        with naming(path), stream:
            with suppress(OSError):  # a disk without such locks
                _lock(stream.fileno())
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    _sync_folder(path.parent)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Make a folder that takes its place at `path` only when the block ends without an error.

    Until then it is beside the first folder above `path` that is to be made, if any. What is at `path` has to be an
    empty folder, or nothing.
    """
    above = next(folder for folder in path.absolute().parents if folder.exists())
    temporary = _unused(above, path)
    temporary.mkdir()
    try:
        yield temporary
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.replace(path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    _sync_folder(path.parent)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Give an error of the disk the name of the file being written: it has none, or that of a temporary file."""
    try:
        yield
    except OSError as error:
        if error.filename is None or Path(error.filename).name.startswith(f".{path.name}."):
            error.filename = str(path)
        raise


def _unused(folder: Path, path: Path) -> Path:
    """Return a new name in `folder` for what is to be at `path`.

    What is made there has the rights that the system gives to anything new. `tempfile` gives less, and what is missing
    can only be known by changing the umask, which other threads would see.
    """
    return folder / f".{path.name}.{secrets.token_hex(4)}.tmp"


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":  # Windows cannot open a folder, and needs no sync of one
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def atomic_write(path: Path, content: bytes | memoryview) -> None:
    """Write `content` to `path`, whole or not at all."""
    with atomic_writer(path) as stream:
        stream.write(content)


def remove_leftovers(path: Path) -> None:
    """Remove what killed writers of `path` left beside it; what another process writes at this moment stays."""
    for leftover in path.parent.glob(f".{path.name}.*.tmp"):
        with suppress(OSError), leftover.open("rb") as stream:
            _lock(stream.fileno())
            leftover.unlink()


def _lock(descriptor: int) -> None:
    """Lock an open file until it is closed; OSError where another process has it."""
    if fcntl is not None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def check_ends(path: Path) -> None:
    """Raise OSError for a pipe, a device or a socket: a reader would wait for it, or never come to its end."""
    if path.exists() and not path.is_file() and not path.is_dir():
        raise OSError(errno.EINVAL, "it is a pipe, a device or a socket, and not a file", str(path))


def user_cache() -> Path:
    """Return the folder for what this user can do without but for some time; RuntimeError where there is no home."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(home) if Path(home).is_absolute() else Path.home() / ".cache") / "gptmodel"


def digest(path: Path, algorithm: str = "sha256") -> str:
    """Return the hex digest of a file, read in chunks (DVC names files by `md5`)."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, algorithm).hexdigest()


def json_bytes(value: Any, *, in_order: bool = False) -> bytes:
    """Return `value` as JSON with two spaces of indent, keys sorted or `in_order`: equal values give equal bytes."""
    return (json.dumps(value, indent=2, sort_keys=not in_order, ensure_ascii=False, allow_nan=False) + "\n").encode()


def fingerprint(parts: dict[str, Any]) -> str:
    """Return a short name for what decides a result: a digest of plain values."""
    return hashlib.sha256(json_bytes(parts)).hexdigest()[:16]


def write_json(path: Path, value: Any, *, in_order: bool = False) -> None:
    """Write `value` to `path` as `json_bytes`, whole or not at all."""
    atomic_write(path, json_bytes(value, in_order=in_order))


def read_json(path: Path) -> Any:
    """Read a JSON file; a ValueError names the file when it is not JSON."""
    check_ends(path)
    content = path.read_bytes()
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON: {merge_conflict(content.decode(errors='replace')) or error}") from None


def read_mapping(path: Path) -> dict[str, Any]:
    """Read a JSON object; an empty one where there is no such file, it cannot be read or it is spoilt."""
    try:
        value = read_json(path)
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def merge_conflict(text: str) -> str | None:
    """Say where git left two versions of a part of a file, one below the other; None where it did not."""
    before, mark, _ = text.partition("<<<<<<< ")
    if not mark or not ("\n" + before).endswith("\n"):
        return None
    line = before.count("\n") + 1
    return f"line {line}: git left a merge conflict here; docs/REMOTE.md says what to do (Two trained at the same time)"
