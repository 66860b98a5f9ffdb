"""How much of the val split stands word for word in the train split: a loss on that says little about new text."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

PASSAGE_BYTES = 64
"""A shorter match is likely to be a turn of phrase, a name or a line of signs. A power of two."""
CHUNK_BYTES = 1 << 22
MOST_BYTES = 1 << 23
"""Of each split: of a longer one, its beginning is looked at. It takes about 100 times as much memory."""
MUCH = 0.05
LOW_BITS = 24
MULTIPLIER = 0x9E3779B97F4A7C15  # odd: no byte of a passage is lost from its hash


def repeated_share(train: bytes, val: bytes) -> float:
    """Return the share of val's bytes in passages of 64 bytes that stand in train as they are.

    Passages are compared by hashes of 64 bits, chunk by chunk of train: two different ones are taken for equal once in
    thousands of texts.
    """
    hashes = _hashes(val[:MOST_BYTES])  # (n - 63,)
    possible = np.zeros(1 << LOW_BITS, dtype=np.bool_)  # by the low bits of a hash: most of train falls through here
    possible[_low(hashes)] = True
    in_train = [np.empty(0, np.uint64)]
    for chunk in _chunks(train[:MOST_BYTES]):
        of_chunk = _hashes(chunk)
        in_train.append(of_chunk[possible[_low(of_chunk)]])
    begins = np.flatnonzero(np.isin(hashes, np.concatenate(in_train)))
    changes = np.zeros(min(len(val), MOST_BYTES) + 1, dtype=np.int64)
    np.add.at(changes, begins, 1)
    np.add.at(changes, begins + PASSAGE_BYTES, -1)
    return float((np.cumsum(changes[:-1]) > 0).mean()) if len(val) else 0.0


def sentence(share: float, first_mb: float | None = None) -> str:
    """Return what a person should know of it; `first_mb` is what was looked at of each split, None for all."""
    part = "" if first_mb is None else f", of the first {first_mb:g} MB of each"
    of_val = f"{share:.1%} of the val split stands word for word in the train split"
    words = f"{of_val} ({PASSAGE_BYTES} bytes and more{part})"
    return f"{words}: its loss says less about new text" if share >= MUCH else words


def _chunks(text: bytes) -> Iterator[bytes]:
    """Yield a text in chunks that overlap by a passage but one byte."""
    for start in range(0, len(text), CHUNK_BYTES):
        yield text[start : start + CHUNK_BYTES + PASSAGE_BYTES - 1]


def _hashes(text: bytes) -> NDArray[np.uint64]:
    """Return a hash of each passage of 64 bytes, (n - 63,): that of the whole from those of its halves."""
    hashes = np.frombuffer(text, dtype=np.uint8).astype(np.uint64) + np.uint64(1)
    length = 1
    while length < PASSAGE_BYTES:
        multiplier = np.uint64(pow(MULTIPLIER, length, 1 << 64))
        hashes = hashes[:-length] * multiplier + hashes[length:] if len(hashes) > length else hashes[:0]
        hashes ^= hashes >> np.uint64(29)
        length *= 2
    return hashes


def _low(hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
    low: NDArray[np.int64] = (hashes & np.uint64((1 << LOW_BITS) - 1)).astype(np.int64)
    return low
