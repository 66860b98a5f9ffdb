"""Where the text comes from: the 38 plays, a local file, a URL, or the user's own file, which is never touched."""

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from gptmodel.address import without_password
from gptmodel.config import FetchParams
from gptmodel.data.download import download
from gptmodel.data.shakespeare import SHAKESPEARE_SHA256, shakespeare
from gptmodel.errors import DataError
from gptmodel.files import CHUNK_BYTES, atomic_write, atomic_writer, digest, read_json, write_json
from gptmodel.project.layout import Layout, source_path
from gptmodel.wheel import Progress


@dataclass(frozen=True, kw_only=True)
class FetchReport:
    """What the text is, and whether it had to be written; `source` is without its password."""

    source: str
    sha256: str
    bytes: int
    written: bool
    watched: bool
    """False where DVC will not see a change of the local file that is the source."""


def fetch_text(params: FetchParams, layout: Layout, root: Path, on_progress: Progress) -> FetchReport:
    """Put the text of fetch.source in its place, and beside it what DVC has to know of the source. Raises DataError.

    A text that already is the source's is left alone, and one that no fetch wrote is refused before anything is
    downloaded. `root` is the project's folder, where paths start. An experiment that runs in a folder of its own
    copies the text from there, if it is what is asked for.
    """
    target, path = layout.text, source_path(params.source, root)
    if target.is_dir():
        raise DataError(f"{target}: is a folder, but the text has to be a file; move the folder away")
    shown = without_password(params.source)
    if params.source == "own":
        expected, written = _own(target, Layout(root).text)
    else:
        expected = _expected(params, path, root)
        written = not target.is_file() or digest(target) != expected
        if written:
            _refuse_foreign(target)
            _write(target, _chunks(params, path, expected, root, on_progress), expected, shown)
            write_json(_record(target), {"sha256": expected, "source": shown})
    watched = _note_source(layout.source, params.source, root, expected)
    size = target.stat().st_size
    return FetchReport(source=shown, sha256=expected, bytes=size, written=written, watched=watched)


def _own(target: Path, project_text: Path) -> tuple[str, bool]:
    """Leave the user's text alone, or copy it where an experiment has none in its folder yet; digest, and whether."""
    copied = not target.exists() and project_text.is_file()
    if copied:
        _write(target, _read(project_text), digest(project_text), "own")
    if not target.is_file():
        raise DataError(f"{target}: no such file; put your text there (fetch.source is own), or change fetch.source")
    return digest(target), copied


def _expected(params: FetchParams, path: Path | None, root: Path) -> str:
    """Return the digest the text will have, without a download."""
    if path is None:
        return SHAKESPEARE_SHA256 if params.source == "shakespeare" else str(params.sha256)
    try:
        if path.exists() and not path.is_file() and not path.is_dir():  # would be waited for, or read, without an end
            raise DataError(f"{params.source}: is a pipe, a device or a socket; fetch.source has to name a text file")
        if path == Layout(root).source:
            raise DataError(f"{params.source}: is written by fetch; fetch.source has to name another file")
        actual = digest(path)
    except (OSError, ValueError) as error:  # ValueError: a path with a null character
        reason = error.strerror if isinstance(error, OSError) else error
        where = "" if params.source == str(path) else f" ({os.path.normpath(path)})"
        raise DataError(
            f"{params.source}: cannot be read: {reason}{where}; fetch.source has to name a text file"
        ) from None
    if params.sha256 not in (None, actual):
        raise _mismatch(params.source, actual, str(params.sha256))
    return actual


def _chunks(
    params: FetchParams, path: Path | None, expected: str, root: Path, on_progress: Progress
) -> Iterator[bytes]:
    """Return the bytes of the source, from the nearest place that has them."""
    project_text = Layout(root).text
    if path is None and project_text.is_file() and digest(project_text) == expected:
        path = project_text
    if path is not None:
        return _read(path)
    if params.source == "shakespeare":
        return iter([shakespeare(on_progress)])
    return download(params.source, params.max_gb, on_progress)


def _note_source(note: Path, source: str, root: Path, sha256: str) -> bool:
    """Write the out by which DVC sees the source change; return whether it will.

    What a stage depends on cannot hang on a setting, but what it writes can: for a local file, a link to it. DVC
    digests what a link leads to. So a changed file is a changed out, and fetch runs again. The link is replaced and
    never written through. It is relative where the setting is, so that a moved project keeps to its own file.
    """
    path = source_path(source, Path())
    if path is None:
        atomic_write(note, f"{without_password(source)}\n".encode())
        return True
    note.parent.mkdir(parents=True, exist_ok=True)
    note.unlink(missing_ok=True)
    try:  # an absolute path stays as it is
        note.symlink_to(Path(os.path.relpath(os.path.realpath(root), os.path.realpath(note.parent))) / path)
    except (OSError, NotImplementedError):  # Windows lets some users only make links
        atomic_write(note, f"{source}\nsha256 {sha256}\n".encode())
        return False
    return True


def _record(target: Path) -> Path:
    return target.with_name(".fetched.json")


def _refuse_foreign(target: Path) -> None:
    """Raise DataError if `target` exists and no fetch wrote it: then it is somebody's own text."""
    if not target.exists() and not target.is_symlink():
        return
    try:
        record = read_json(_record(target))
    except (OSError, ValueError):
        record = None
    fetched_digests = [SHAKESPEARE_SHA256, record.get("sha256") if isinstance(record, dict) else None]
    if not target.is_file() or digest(target) not in fetched_digests:
        raise DataError(
            f"{target}: was not written by fetch, so it is not replaced; "
            "set fetch.source to own to train on it, or move it away"
        )


def _write(target: Path, chunks: Iterable[bytes], expected: str, source: str) -> None:
    """Write `chunks` to `target` if their digest is as expected."""
    sha256 = hashlib.sha256()
    with atomic_writer(target) as stream:
        for chunk in chunks:
            sha256.update(chunk)
            stream.write(chunk)
        if sha256.hexdigest() != expected:
            raise _mismatch(source, sha256.hexdigest(), expected)
        _refuse_foreign(target)  # again: a download takes time enough to put a text of one's own there


def _mismatch(source: str, actual: str, expected: str) -> DataError:
    return DataError(f"{source}: has the sha256 {actual} instead of {expected}; check fetch.sha256 and the source")


def _read(path: Path) -> Iterator[bytes]:
    """Yield the bytes of a file in chunks."""
    with path.open("rb") as stream:
        yield from iter(lambda: stream.read(CHUNK_BYTES), b"")
