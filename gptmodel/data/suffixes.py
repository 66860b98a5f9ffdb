"""Every suffix of a text in order: what of another text stands in it word for word, looked up at all places at once.

The suffix array is pydivsufsort's (Mori's libdivsufsort). Bytes are the unit, so that texts of any tokenizer compare.
"""

import numpy as np
from numpy.typing import NDArray
from pydivsufsort import divsufsort

BYTES_AT_ONCE = 32
"""Bytes that a lookup compares in one go; a longer match takes several."""
PLACES_AT_ONCE = 1 << 14
END = -1
"""Stands behind the last byte of a text: it is less than every byte, and no match goes over it."""


class Suffixes:
    """The suffixes of a text, sorted."""

    def __init__(self, text: bytes) -> None:
        self._text = np.frombuffer(text, dtype=np.uint8)  # (n,)
        self._order = divsufsort(text) if text else np.empty(0, np.int32)  # (n,) where each suffix begins

    def longest_matches(self, text: bytes) -> NDArray[np.int64]:
        """Return for each byte of `text`, (m,), how many bytes from there on stand somewhere in this one as well."""
        query = np.frombuffer(text, dtype=np.uint8)
        lengths = np.zeros(len(query), dtype=np.int64)
        for start in range(0, len(query), PLACES_AT_ONCE):
            places = np.arange(start, min(start + PLACES_AT_ONCE, len(query)))
            lengths[places] = self._longest(query, places)
        return lengths

    def _longest(self, query: NDArray[np.uint8], places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Search by halves for where each place of the query would stand in the order, and keep the longest match met.

        The two suffixes that would be its neighbours, between which the longest match is, are among those met.
        """
        low, high = np.zeros_like(places), np.full_like(places, len(self._order))
        longest = np.zeros_like(places)
        while (active := np.flatnonzero(low < high)).size:
            middle = (low[active] + high[active]) // 2
            length, is_after = self._compared(query, places[active], self._order[middle].astype(np.int64))
            longest[active] = np.maximum(longest[active], length)
            low[active[is_after]] = middle[is_after] + 1
            high[active[~is_after]] = middle[~is_after]
        return longest

    def _compared(
        self, query: NDArray[np.uint8], places: NDArray[np.int64], suffixes: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return how long each place of the query matches its suffix of the text, and whether it comes after it."""
        lengths, is_after = np.zeros_like(places), np.zeros(len(places), dtype=np.bool_)
        undecided = np.arange(len(places))
        while undecided.size:
            ours = _bytes_from(query, places[undecided] + lengths[undecided])
            theirs = _bytes_from(self._text, suffixes[undecided] + lengths[undecided])
            differs = (ours != theirs) | (ours == END)  # (k, BYTES_AT_ONCE)
            first = np.where(differs.any(axis=1), differs.argmax(axis=1), BYTES_AT_ONCE)
            column = np.minimum(first, BYTES_AT_ONCE - 1)[:, None]
            is_after[undecided] = np.take_along_axis(ours > theirs, column, axis=1)[:, 0]
            lengths[undecided] += first
            undecided = undecided[first == BYTES_AT_ONCE]
        return lengths, is_after


def _bytes_from(text: NDArray[np.uint8], starts: NDArray[np.int64]) -> NDArray[np.int16]:
    """Return the bytes from each start on, END behind the last one, shape (k, BYTES_AT_ONCE)."""
    index = starts[:, None] + np.arange(BYTES_AT_ONCE)
    values: NDArray[np.int16] = text[np.minimum(index, len(text) - 1)].astype(np.int16)
    values[index >= len(text)] = END
    return values
