"""The token file: a 64-byte header and the ids of a split, memory-mapped by the stages that read it.

Header, little endian: magic (8 bytes), format version (u32), bytes in an id (u32: 1, 2 or 4, by vocab_size), count of
ids (u64), vocab_size (u32), the tokenizer's SHA-256 (32 bytes), CRC-32 of the 60 bytes before it (u32).
"""

import os
import struct
import zlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from gptmodel.errors import DataError
from gptmodel.files import atomic_writer, check_ends, naming

MAGIC = b"GPTTOKEN"
VERSION = 1
FIELDS = struct.Struct("<8sIIQI32s")
HEADER_BYTES = FIELDS.size + 4
SCAN_IDS = 1 << 20
SYNC_BYTES = 1 << 26
"""What is written before the disk is told to take it, beside the work: little is left to wait for at the end."""
MEND = "run `gptmodel prepare` again"


@dataclass(frozen=True)
class TokenFile:
    """The ids of a split."""

    path: Path
    ids: NDArray[Any]
    """Shape (count,), unsigned integers, mapped from the file and read-only."""
    vocab_size: int
    tokenizer_digest: str


def id_dtype(vocab_size: int) -> np.dtype[Any]:
    """Return the smallest little-endian unsigned type that holds the ids 0 ... vocab_size - 1."""
    if vocab_size <= 1 << 8:
        return np.dtype("u1")
    return np.dtype("<u2") if vocab_size <= 1 << 16 else np.dtype("<u4")


@contextmanager
def token_writer(path: Path, vocab_size: int, tokenizer_digest: str) -> Iterator["TokenWriter"]:
    """Write a token file: `with token_writer(...) as writer: writer.append(ids)`.

    The file appears, whole, when the block ends without an error; else what was there before stays.
    """
    with atomic_writer(path) as stream:
        stream.write(bytes(HEADER_BYTES))
        with ThreadPoolExecutor(1) as disk:
            writer = TokenWriter(path, vocab_size, stream, disk)
            yield writer
        with naming(path):
            writer.check_sync()
        itemsize, digest = id_dtype(vocab_size).itemsize, bytes.fromhex(tokenizer_digest)
        fields = FIELDS.pack(MAGIC, VERSION, itemsize, writer.count, vocab_size, digest)
        stream.seek(0)
        stream.write(fields + struct.pack("<I", zlib.crc32(fields)))


class TokenWriter:
    """The ids of a token file that is being written."""

    def __init__(self, path: Path, vocab_size: int, stream: IO[bytes], disk: ThreadPoolExecutor) -> None:
        self.count = 0
        self._path, self._vocab_size, self._dtype = path, vocab_size, id_dtype(vocab_size)
        self._stream, self._disk = stream, disk
        self._sync: Future[None] | None = None
        self._told = 0  # bytes that the disk was told of

    def append(self, ids: NDArray[Any]) -> None:
        """Add ids, shape (n,); DataError if one is not below vocab_size."""
        if ids.size and not 0 <= int(ids.min()) <= int(ids.max()) < self._vocab_size:
            raise DataError(f"{self._path}: an id is not below the vocab_size, {self._vocab_size}")
        with naming(self._path):
            self._stream.write(np.ascontiguousarray(ids, dtype=self._dtype).data)
            self.count += ids.size
            written = self.count * self._dtype.itemsize
            if written - self._told >= SYNC_BYTES and (self._sync is None or self._sync.done()):
                self.check_sync()
                self._sync, self._told = self._disk.submit(os.fsync, self._stream.fileno()), written

    def check_sync(self) -> None:
        """Raise the disk's error, if it had one: it is told once."""
        if self._sync is not None:
            self._sync.result()


def open_tokens(path: Path) -> TokenFile:
    """Map a token file after checking every field of its header, its size, and that all ids are below vocab_size.

    Raises DataError, naming the file and the mend.
    """
    try:
        check_ends(path)
        with path.open("rb") as stream:
            header = stream.read(HEADER_BYTES)
            size = stream.seek(0, 2)
    except FileNotFoundError:
        raise DataError(f"{path}: no such token file; run `dvc repro prepare` first") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}; {MEND}") from None
    count, vocab_size, tokenizer_digest = _checked_header(path, header)
    dtype = id_dtype(vocab_size)
    expected = HEADER_BYTES + count * dtype.itemsize
    if size != expected:
        raise DataError(f"{path}: has {size} bytes instead of {expected}, so it was cut off or added to; {MEND}")
    if count:
        ids: NDArray[Any] = np.memmap(path, dtype=dtype, mode="r", offset=HEADER_BYTES, shape=(count,)).view(np.ndarray)
    else:  # nothing cannot be mapped
        ids = np.empty(0, dtype=dtype)
        ids.flags.writeable = False
    _check_ids(path, ids, vocab_size)
    return TokenFile(path, ids, vocab_size, tokenizer_digest)


def _checked_header(path: Path, header: bytes) -> tuple[int, int, str]:
    if len(header) < HEADER_BYTES or not header.startswith(MAGIC):
        raise DataError(f"{path}: not a token file; {MEND}")
    _, version, itemsize, count, vocab_size, tokenizer_digest = FIELDS.unpack_from(header)
    if zlib.crc32(header[: FIELDS.size]) != int.from_bytes(header[FIELDS.size :], "little"):
        raise DataError(f"{path}: the header is damaged; {MEND}")
    if version != VERSION:
        raise DataError(f"{path}: has token file format {version}, but this program reads {VERSION}; {MEND}")
    if vocab_size < 1 or itemsize != id_dtype(vocab_size).itemsize:
        raise DataError(f"{path}: {itemsize} bytes per id do not fit a vocab_size of {vocab_size}; {MEND}")
    return count, vocab_size, tokenizer_digest.hex()


def _check_ids(path: Path, ids: NDArray[Any], vocab_size: int) -> None:
    if vocab_size > np.iinfo(ids.dtype).max:
        return
    for start in range(0, len(ids), SCAN_IDS):
        part = ids[start : start + SCAN_IDS]
        if int(part.max()) >= vocab_size:
            index = start + int((part >= vocab_size).argmax())
            raise DataError(
                f"{path}: id {ids[index]} at index {index} is not below {vocab_size}, its vocab_size; {MEND}"
            )
