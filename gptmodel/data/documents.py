"""A text made of documents: its bytes in one pass, with a separator between them, and the list of what they were."""

import codecs
import hashlib
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO

from gptmodel.data.encoding import likely_encoding, wide_words
from gptmodel.data.local_files import Source, notes_on
from gptmodel.data.unpack import chunks, is_hidden, is_packed, unpacked
from gptmodel.errors import DataError

BEGINNING_BYTES = 1 << 16  # tell how a text is encoded
MARK = codecs.BOM_UTF8
NAMES_SHOWN = 3
NO_TEXT = "take it away, or name the texts by a pattern, such as 'texts/*.txt'"


class NoTextError(DataError):
    """A document that is not UTF-8."""


@dataclass(frozen=True)
class Document:
    """A document as it was read: unpacked, and without a byte order mark where several are joined."""

    name: str
    bytes: int
    sha256: str


class Reading:
    """One pass over the files of a source: iterate over it for the bytes of the text, in chunks.

    Each document has to be UTF-8: DataError names the one that is not, that is damaged, or with which all that was
    unpacked is more than `most` bytes.
    """

    def __init__(self, source: Source, separator: str, most: int) -> None:
        self.source, self.separator, self.most = source, separator.encode(), most
        self.documents: list[Document] = []
        self.unpacked_bytes = 0
        self.hidden, self.empty = list(source.hidden), list[str]()

    def __iter__(self) -> Iterator[bytes]:
        for place, file in enumerate(self.source.names, 1):
            try:
                yield from self._file(file)
            except NoTextError as error:
                later = [name for name in self.source.names[place:] if self._needs_conversion(name)]
                others = f"; not UTF-8 either: {_some(later)}" if later else ""
                raise DataError(f"{error}{others}") from None
        if not self.documents:
            raise DataError(f"{self.source.shown}: is empty; let fetch.source name a text")

    def notes(self) -> list[str]:
        """Return what a person should know of what was read, a line each."""
        left_out = {"hidden": self.hidden, "empty": self.empty}
        lines = [f"{self.source.shown}: left out as {why}: {_some(names)}" for why, names in left_out.items() if names]
        return lines + notes_on(self.source)

    def _file(self, file: str) -> Iterator[bytes]:
        path, shown = self.source.file(file)
        for name, stream in unpacked(path, file, shown):
            if is_hidden(name.removeprefix(file)):  # in a zip; whoever names a hidden file wants it
                self.hidden.append(name)
            else:
                yield from self._document(name, path, shown + name.removeprefix(file), stream)

    def _needs_conversion(self, file: str) -> bool:
        """Whether a file that has yet to be read is no UTF-8; of packed ones, only reading them tells."""
        path = self.source.file(file)[0]
        decoder = codecs.getincrementaldecoder("utf-8")()
        try:
            if not is_packed(path.name):
                with path.open("rb") as stream:
                    deque(map(decoder.decode, chunks(stream, file, None)), maxlen=0)
                decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return True
        except (OSError, DataError):  # which is told when its turn comes
            pass
        return False

    def _document(self, name: str, path: Path, shown: str, stream: IO[bytes]) -> Iterator[bytes]:
        """Yield a document, behind a separator if it is not the first, and list it; nothing for an empty one."""
        size, sha256 = 0, hashlib.sha256()
        most = self.most - self.unpacked_bytes if is_packed(path.name) else None
        lasting = None if self.source.where is None else path
        for chunk in _as_text(chunks(stream, shown, most), lasting, shown):
            if not size and self.documents:
                yield self.separator
            size += len(chunk)
            sha256.update(chunk)
            yield chunk
        self.unpacked_bytes += size if most is not None else 0
        if size:
            self.documents.append(Document(name, size, sha256.hexdigest()))
        else:
            self.empty.append(name)


def _as_text(content: Iterator[bytes], path: Path | None, shown: str) -> Iterator[bytes]:
    """Yield a document without its byte order mark; DataError says what it is if it is no UTF-8, or binary."""
    decoder, read, beginning = codecs.getincrementaldecoder("utf-8")(), 0, b""
    for chunk in chain(content, [b""]):
        beginning = beginning or chunk[:BEGINNING_BYTES]
        pending = len(decoder.getstate()[0])
        try:
            decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            place = f"not UTF-8 at byte {read - pending + error.start} (counted from 0)"
            raise NoTextError(f"{shown}: {place}; {likely_encoding(path, beginning, NO_TEXT)}") from None
        if 0 in chunk:
            what = wide_words(path, beginning) or f"does not look like text, since it holds NUL bytes; {NO_TEXT}"
            raise DataError(f"{shown}: {what}")
        if text := chunk if read else chunk.removeprefix(MARK):
            yield text
        read += len(chunk)


def _some(names: Sequence[str]) -> str:
    """Return the first of some names, and how many more there are."""
    more = f" and {len(names) - NAMES_SHOWN:,} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(names[:NAMES_SHOWN]) + more
