"""A text file, read in passes of chunks: what it holds, and the bytes of both splits; memory does not grow with it.

A packed file is read as what comes out of it.
"""

import codecs
import hashlib
import os
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from gptmodel.data.encoding import likely_encoding, wide_words
from gptmodel.data.unpack import opened
from gptmodel.errors import DataError, EncodingError
from gptmodel.project.layout import Layout
from gptmodel.tokenizers.base import Unit, decoded
from gptmodel.tokenizers.characters import Characters

READ_BYTES = 1 << 22
"""Read and digested at once, beside the work on the bytes before, so that the two threads seldom meet."""
CHUNK_BYTES = 1 << 17
BEGINNING_BYTES = 1 << 16  # tell how a text is encoded


@dataclass(frozen=True)
class Text:
    """A text file as one pass over it saw it."""

    path: Path
    unit: Unit
    """What it is counted and cut in: bytes only where it is not UTF-8, and the tokenizer takes any file."""
    start: int
    """Index of the first byte that counts: behind a byte order mark, if there is one."""
    size: int
    """Bytes of the file, unpacked."""
    units: int
    """Characters or bytes, without the mark."""
    sha256: str
    """Digest of the file, unpacked; by it a pass notices that the file was changed."""
    characters: str
    """Its distinct characters, sorted; its bytes, as in Latin-1, if it is not UTF-8."""

    def chunks(self) -> Generator[bytes, None, None]:
        """Yield the file as it is now, from `start` on; to be closed where it may not be read to its end."""
        return _Pass(self.path, self.start).chunks()


def survey(path: Path, unit: Unit) -> Text:
    """Read a text once and count its units; DataError if it cannot be read, or if there is nothing to learn from it.

    A text that is UTF-8 is counted in characters, without a byte order mark, for a tokenizer of bytes too: so it is cut
    at the same character for every tokenizer, and their losses compare.
    """
    beginning = _beginning(path)
    start = len(codecs.BOM_UTF8) if beginning.startswith(codecs.BOM_UTF8) else 0
    reading, characters = _Pass(path, start), Characters()
    try:
        with closing(reading.chunks()) as chunks:
            units = sum(map(characters.add, decoded(chunks, start)))
    except EncodingError as error:
        if unit == "character":
            raise DataError(f"{path}: {error}; {likely_encoding(_original(path), beginning)}") from None
        reading, characters = _Pass(path, 0), Characters()
        with closing(reading.chunks()) as chunks:
            units = sum(map(characters.add, (chunk.decode("latin-1") for chunk in chunks)))
    else:
        if unit == "character" and (wide := wide_words(_original(path), beginning)):
            raise DataError(f"{path}: {wide}")
        unit = "character"
    distinct = characters.sorted()
    if not units:
        raise DataError(f"{path}: is empty; put a text there, or run `dvc repro fetch`")
    if len(distinct) == 1:
        raise DataError(f"{path}: has only one distinct character, so there is nothing to learn; use another text")
    return Text(path, unit, reading.start, reading.size, units, reading.sha256, distinct)


@contextmanager
def splits(text: Text, train_units: int) -> Iterator[tuple[Iterator[bytes], Iterator[bytes]]]:
    """Give the chunks of the train split, which has so many units, and of the val split, for one pass over the text.

    Raises DataError at the end of the block, or instead of one of the block's, if the text is no longer what it was.
    """
    reading = _Pass(text.path, text.start)
    with closing(reading.chunks()) as chunks:
        train, val = cut(chunks, train_units, text.unit)

        def check() -> None:
            for _ in val:  # what nobody asked for
                pass
            if (reading.size, reading.sha256) != (text.size, text.sha256):
                raise DataError(
                    f"{text.path}: changed while it was being read; run `gptmodel prepare` again when it is complete"
                )

        try:
            yield train, val
        except DataError:
            check()
            raise
        check()


def cut(chunks: Iterator[bytes], units: int, unit: Unit) -> tuple[Iterator[bytes], Iterator[bytes]]:
    """Return the chunks of the first `units` units, and those of the others; to begin with these passes over those."""
    remainder: list[bytes] = []

    def first() -> Iterator[bytes]:
        remaining = units
        for chunk in chunks:
            end, count = _reach(chunk, remaining, unit)
            remaining -= count
            yield chunk[:end]
            if end < len(chunk):
                remainder.append(chunk[end:])
                return

    def others() -> Iterator[bytes]:
        for _ in beginning:
            pass
        yield from chain(remainder, chunks)

    beginning = first()
    return beginning, others()


def _reach(chunk: bytes, units: int, unit: Unit) -> tuple[int, int]:
    """Return where the unit after `units` units begins, or the chunk's length, and how many units begin before it."""
    if unit == "byte" or chunk.isascii():
        end = min(units, len(chunk))
        return end, end
    begins = np.frombuffer(chunk, dtype=np.int8) >= -64  # (n,) the other bytes of a character are 0x80 to 0xBF
    count = int(np.count_nonzero(begins))
    return (int(np.flatnonzero(begins)[units]), units) if units < count else (len(chunk), count)


def _original(path: Path) -> Path:
    """Return the file that fetch took the text from, if there is one: it is the one to convert, and not the copy."""
    project = Layout(path.parent.parent)
    is_copy = path == project.text and project.source.is_symlink() and project.source.is_file()
    return Path(os.path.realpath(project.source)) if is_copy else path


def _beginning(path: Path) -> bytes:
    """Return the first bytes of the text; DataError if it cannot be read."""
    if path.is_dir():
        raise DataError(f"{path}: is a folder, but the text has to be a file; move the folder away")
    if not path.is_file():
        raise DataError(f"{path}: no such text; run `dvc repro fetch`, or put a text of your own there")
    with opened(path) as stream:
        return stream.read(BEGINNING_BYTES)


class _Pass:
    """One pass over a text, from byte `start` on, and the size and the digest of all of it, once it is over."""

    def __init__(self, path: Path, start: int) -> None:
        self.path, self.start, self.size = path, start, 0
        self._digest = hashlib.sha256()

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def chunks(self) -> Generator[bytes, None, None]:
        """Yield the bytes. A thread reads and digests the next ones meanwhile, which a second core has time for.

        Who leaves before the end closes this. The garbage collector would do so in any thread, also in one that is just
        starting: Python 3.11 then waits for ever, and the process can start no thread any more.
        """
        with opened(self.path) as stream, ThreadPoolExecutor(1) as reader:

            def read() -> bytes:
                content = stream.read(READ_BYTES)
                self._digest.update(content)
                return content

            coming, start = reader.submit(read), self.start
            while content := coming.result():
                coming = reader.submit(read)
                self.size += len(content)
                for index in range(start, len(content), CHUNK_BYTES):
                    yield content[index : index + CHUNK_BYTES]
                start = 0
