"""The text in its place, data/input.txt: whose it is, what was made of what, and how it is replaced."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gptmodel.data.documents import Document
from gptmodel.data.shakespeare import SHAKESPEARE_SHA256
from gptmodel.errors import DataError
from gptmodel.files import CHUNK_BYTES, atomic_writer, digest, read_mapping, write_json


@dataclass(frozen=True)
class FetchedText:
    """The text that is in its place now."""

    sha256: str
    documents: tuple[Document, ...]
    written: bool
    notes: tuple[str, ...] = ()


def single(text: Path, name: str, sha256: str, written: bool) -> FetchedText:
    """Return what is known of a text that is one document."""
    size = text.stat().st_size if text.is_file() else 0
    return FetchedText(sha256, (Document(name, size, sha256),), written)


def is_text(path: Path, sha256: str) -> bool:
    return path.is_file() and digest(path) == sha256


def record_path(text: Path) -> Path:
    return text.with_name(".fetched.json")


def record_of(text: Path) -> dict[str, Any]:
    """Return what a fetch wrote down of the text that it put there; nothing where there is no such record."""
    return read_mapping(record_path(text))


def refuse_foreign(target: Path) -> None:
    """Raise DataError if `target` exists and no fetch wrote it: then it is somebody's own text."""
    if not target.exists() and not target.is_symlink():
        return
    if not target.is_file() or digest(target) not in [SHAKESPEARE_SHA256, record_of(target).get("sha256")]:
        raise DataError(
            f"{target}: was not written by fetch, so it is not replaced; "
            "set fetch.source to own to train on it, or move it away"
        )


def write_text(target: Path, chunks: Iterable[bytes], source: str, expected: str | None = None) -> str:
    """Write `chunks` to `target` if their digest is as expected; return the digest."""
    sha256 = hashlib.sha256()
    with atomic_writer(target) as stream:
        for chunk in chunks:
            sha256.update(chunk)
            stream.write(chunk)
        actual = sha256.hexdigest()
        if expected not in (None, actual):
            raise DataError(f"{source}: changed while it was being read; run the same command again")
        refuse_foreign(target)  # again: that takes time enough to put a text of one's own there
    return actual


def note_text(
    target: Path, sha256: str, source: str, made_of: dict[str, str] | None = None, documents: Iterable[Document] = ()
) -> None:
    """Write down what a fetch put there; of a packed file that was downloaded, what nobody can see in the text, too."""
    packed = {**made_of, "documents": [asdict(document) for document in documents]} if made_of else {}
    write_json(record_path(target), {"sha256": sha256, "source": source, **packed})


def read_chunks(path: Path) -> Iterator[bytes]:
    """Yield the bytes of a file in chunks."""
    with path.open("rb") as stream:
        yield from iter(lambda: stream.read(CHUNK_BYTES), b"")
