"""Packed files as streams of what is in them: .gz, .bz2, .xz, .zst and .zip.

The memory does not grow with what comes out. But LZMA, in .xz or in a .zip, takes as much as the file says that its
dictionary has: 64 MB after `xz -9`, up to 4 GB in a file that was made for that.
"""

import bz2
import gzip
import io
import lzma
import re
import sys
import zipfile
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any

from gptmodel.errors import DataError
from gptmodel.files import CHUNK_BYTES
from gptmodel.wheel import BAD_ZIP

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

OPENERS: dict[str, Callable[[Path], Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open, ".zst": zstd.open}
ZIP = ".zip"
BEGINNINGS = {
    ".gz": rb"\x1f\x8b\x08",
    ".bz2": rb"BZh[1-9]1AY&SY",
    ".xz": rb"\xfd7zXZ\x00",
    ".zst": rb"\x28\xb5\x2f\xfd",
    ZIP: rb"PK\x03\x04",
}
"""How the files begin, by which one is known whose name does not say what it is."""
DAMAGE = (*BAD_ZIP, lzma.LZMAError, zstd.ZstdError)
"""What the libraries raise for a file that is damaged, encrypted or packed in a way they do not know."""
MOST_ENTRIES = 100_000
TOOLS = ("__MACOSX", "__pycache__")
"""Folders that tools put beside texts."""


def is_packed(name: str) -> bool:
    """Whether a file of this name is unpacked before it is read."""
    return PurePosixPath(name).suffix.lower() in (*OPENERS, ZIP)


def packed_as(beginning: bytes) -> str | None:
    """Return the ending that a packed file which begins so should have; None for one that is not packed."""
    return next((ending for ending, first in BEGINNINGS.items() if re.match(first, beginning)), None)


def is_hidden(name: str) -> bool:
    """Whether a name, or a folder in it, is one that tools put beside texts and no reader looks for."""
    return any(part.startswith(".") or part in TOOLS for part in PurePosixPath(name).parts)


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that is one text, unpacked if it is packed; DataError names it if that fails or it holds several."""
    with readable(str(path)), closing(unpacked(path, "", str(path))) as documents:
        texts = (stream for name, stream in documents if not is_hidden(name))
        yield next(texts, io.BytesIO())
        if next(texts, None) is not None:
            raise DataError(f"{path}: holds several texts, and has to be one; unpack it, and join them to one file")


def unpacked(path: Path, name: str, shown: str) -> Generator[tuple[str, IO[bytes]], None, None]:
    """Yield the documents of a file by name, each as a stream: one, or those of a zip, sorted by name.

    A file that is not packed comes as it is. A document has the file's `name`; one of a zip, that of its entry behind
    it, hidden ones too. `shown` is what errors call the file. Read a stream, by `chunks`, before you go on.
    """
    suffix = path.suffix.lower()
    if suffix == ZIP:
        yield from _zipped(path, name, shown)
        return
    with readable(shown), OPENERS.get(suffix, Path.open)(path, "rb") as stream:
        yield name, stream


def chunks(stream: IO[bytes], shown: str, most: int | None) -> Iterator[bytes]:
    """Yield a stream in chunks; DataError names it if it is damaged, or if more than `most` bytes come out of it."""
    size = 0
    while True:
        with readable(shown):
            chunk = stream.read(CHUNK_BYTES)
        if not chunk:
            return
        size += len(chunk)
        if most is not None and size > most:
            raise DataError(
                f"{shown}: more comes out of it than fetch.max_gb allows; raise that if the text is so large"
            )
        yield chunk


@contextmanager
def readable(shown: str) -> Iterator[None]:
    """Turn what reading a file fails with into a DataError that names it."""
    try:
        yield
    except DAMAGE as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise DataError(f"{shown}: cannot be read: {error.strerror}; make it readable, or take it away") from None
        reason = " ".join(str(error).split())[:120].rstrip(".") or type(error).__name__
        raise DataError(
            f"{shown}: cannot be unpacked: {reason}; it is damaged, incomplete or no such file as its name says: "
            "get it again, or unpack it yourself"
        ) from None


def _zipped(path: Path, name: str, shown: str) -> Iterator[tuple[str, IO[bytes]]]:
    with readable(shown), zipfile.ZipFile(path) as archive:
        entries = [entry for entry in archive.infolist() if not entry.is_dir()]
        if len(entries) > MOST_ENTRIES:
            raise DataError(f"{shown}: holds more than {MOST_ENTRIES:,} files; unpack it, and join them to fewer")
        for entry in sorted(entries, key=lambda entry: entry.filename):
            if entry.flag_bits & 1:
                raise DataError(f"{shown}: is encrypted; unpack it, and name what comes out")
            with archive.open(entry) as stream:
                yield f"{name}/{entry.filename}", stream
