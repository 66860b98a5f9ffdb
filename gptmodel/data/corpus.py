"""A text file -> a tokenizer and the token files of two splits, in memory that does not grow with the text."""

import codecs
import hashlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gptmodel.config import PrepareParams
from gptmodel.data.tokens import TokenWriter
from gptmodel.errors import DataError
from gptmodel.files import remove_leftovers, write_json
from gptmodel.tokenizers.base import Tokenizer
from gptmodel.tokenizers.byte import ByteTokenizer
from gptmodel.tokenizers.char import CharTokenizer

CHUNK_BYTES = 1 << 18
CODE_POINTS = 0x110000
MIN_SPLIT = 2


@dataclass(frozen=True)
class PrepareReport:
    """What `prepare` made of a text; metrics/prepare.json holds these values."""

    tokenizer: str
    tokenizer_digest: str
    vocab_size: int
    characters: int | None
    """Characters of the text, or None for the byte tokenizer, which does not look for any."""
    bytes: int
    train_tokens: int
    val_tokens: int
    text_sha256: str


@dataclass
class Tally:
    """What one pass over the text saw."""

    bytes: int = 0
    characters: int = 0
    sha256: str = ""


def prepare(text: Path, out: Path, params: PrepareParams) -> PrepareReport:
    """Write tokenizer.json, train.bin and val.bin below `out` from the text file `text`.

    The text is kept exactly: the two splits, decoded and joined, are the text again. Nothing is written when
    DataError is raised: the text is missing, empty, not UTF-8, of a single character, too short, or being changed.
    """
    size = _checked_size(text)
    tally = Tally()
    tokenizer: Tokenizer
    if params.tokenizer == "byte":
        tokenizer, count, ids = ByteTokenizer(), size, _byte_ids(text, size, tally)
    else:
        first = Tally()
        tokenizer = CharTokenizer(collect_characters(text, first))
        count, ids = first.characters, _char_ids(text, tokenizer, first, tally)
        if tokenizer.vocab_size == 1:
            raise _single(text)
    train_count = int(params.train_fraction * count)
    if min(train_count, count - train_count) < MIN_SPLIT:
        raise DataError(
            f"{text}: {count} tokens leave {train_count} to train and {count - train_count} to validate, but each "
            f"split needs {MIN_SPLIT}; use a longer text or another prepare.train_fraction"
        )
    _write_splits(out, tokenizer, ids, train_count)
    return PrepareReport(
        tokenizer=tokenizer.kind,
        tokenizer_digest=tokenizer.digest,
        vocab_size=tokenizer.vocab_size,
        characters=tally.characters if params.tokenizer == "char" else None,
        bytes=tally.bytes,
        train_tokens=train_count,
        val_tokens=count - train_count,
        text_sha256=tally.sha256,
    )


def check_splits(train_count: int, val_count: int, block_size: int) -> None:
    """Raise DataError unless each split, of so many tokens, holds a sequence of block_size tokens and its targets."""
    for split, count in (("train", train_count), ("val", val_count)):
        if count < block_size + 1:
            raise DataError(
                f"the {split} split has {count} tokens, but model.block_size = {block_size} needs {block_size + 1}; "
                "use a smaller model.block_size, a longer text or another prepare.train_fraction"
            )


def read_bytes(path: Path, tally: Tally) -> Iterator[bytes]:
    """Yield a file in chunks, and fill in the tally."""
    sha256 = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            sha256.update(chunk)
            tally.bytes += len(chunk)
            yield chunk
    tally.sha256 = sha256.hexdigest()


def read_text(path: Path, tally: Tally) -> Iterator[str]:
    """Yield a UTF-8 file in chunks of whole characters, newlines as they are, and fill in the tally.

    Raises DataError, naming the index of the first byte that is not UTF-8.
    """
    pending, start = b"", 0  # the first bytes of a character that the next chunk completes; where they are
    for chunk in read_bytes(path, tally):
        joined = pending + chunk if pending else chunk
        text, used = _decode(path, joined, start, final=False)
        pending, start = joined[used:], start + used
        tally.characters += len(text)
        yield text
    _decode(path, pending, start, final=True)


def _decode(path: Path, content: bytes, start: int, *, final: bool) -> tuple[str, int]:
    try:
        return codecs.utf_8_decode(content, "strict", final)
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: not UTF-8 at byte {start + error.start} (counted from 0); "
            "save the text as UTF-8, or set prepare.tokenizer to byte"
        ) from None


def collect_characters(path: Path, tally: Tally) -> str:
    """Return the sorted distinct characters of a UTF-8 file, and fill in the tally."""
    seen = np.zeros(CODE_POINTS, dtype=np.bool_)
    known = b""
    for text in read_text(path, tally):
        if text.isascii():
            new = text.encode("ascii").translate(None, known)  # nothing is left of most chunks
            if new:
                seen[np.frombuffer(new, dtype=np.uint8)] = True
                known = np.flatnonzero(seen[:128]).astype(np.uint8).tobytes()
        else:
            points = np.frombuffer(text.encode("utf-32-le"), dtype="<u4")
            if not seen.take(points).all():  # looking is faster than setting, and most chunks hold nothing new
                seen[points] = True
    return np.flatnonzero(seen).astype("<u4").tobytes().decode("utf-32-le")


def _checked_size(path: Path) -> int:
    """Return the size of the text in bytes; DataError if there is nothing to read."""
    if path.is_dir():
        raise DataError(f"{path}: is a folder, but the text has to be a file")
    if not path.is_file():
        raise DataError(f"{path}: no such text; run `dvc repro fetch`, or put a text of your own there")
    size = path.stat().st_size
    try:
        path.open("rb").close()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    if not size:
        raise DataError(f"{path}: is empty; put a text there, or run `dvc repro fetch`")
    return size


def _char_ids(path: Path, tokenizer: Tokenizer, first: Tally, tally: Tally) -> Iterator[NDArray[Any]]:
    """Yield the ids of the text in a second pass; DataError if it is not the text of the first."""
    try:
        for text in read_text(path, tally):
            yield tokenizer.encode_array(text)
    except DataError:  # the first pass found neither a fault nor an unknown character
        raise _changed(path) from None
    if tally != first:
        raise _changed(path)


def _byte_ids(path: Path, size: int, tally: Tally) -> Iterator[NDArray[Any]]:
    """Yield the bytes of a file; DataError if its size is another by now, or if it holds but one distinct byte."""
    several, only = False, b""
    for chunk in read_bytes(path, tally):
        only = only or chunk[:1]
        several = several or chunk.count(only) < len(chunk)
        yield np.frombuffer(chunk, dtype=np.uint8)
    if tally.bytes != size:
        raise _changed(path)
    if not several:
        raise _single(path)


def _changed(path: Path) -> DataError:
    return DataError(f"{path}: was changed while it was read; run `gptmodel prepare` again when it is complete")


def _single(path: Path) -> DataError:
    return DataError(f"{path}: a single distinct character, so there is nothing to learn; use another text")


def _write_splits(out: Path, tokenizer: Tokenizer, ids: Iterable[NDArray[Any]], train_count: int) -> None:
    for name in ("train.bin", "val.bin", "tokenizer.json"):
        remove_leftovers(out / name)
    with ExitStack() as stack:  # no file takes its place before all are complete
        train, val = (
            stack.enter_context(TokenWriter(out / f"{split}.bin", tokenizer.vocab_size, tokenizer.digest))
            for split in ("train", "val")
        )
        for part in ids:
            cut = train_count - train.count
            train.append(part[:cut])
            val.append(part[cut:])
    write_json(out / "tokenizer.json", tokenizer.to_json())
