"""Every suffix of a text in order: what of another text stands in it word for word.

The suffix array is pydivsufsort's (Mori's libdivsufsort). Bytes are the unit, so that texts of any tokenizer compare.
"""

from bisect import bisect_left
from collections.abc import Iterator

import numpy as np
from pydivsufsort import divsufsort

SHORT = 64
"""Bytes that a search compares at first; where a match goes on beyond them, it takes more."""


class Suffixes:
    """The suffixes of a text, sorted."""

    def __init__(self, text: bytes) -> None:
        self._text = text
        # (n,) where each suffix begins; of an array of numpy a single number costs several times as much
        self._order = memoryview(divsufsort(text).view(np.uint8)).cast("i") if text else memoryview(b"")

    def longest_matches(self, text: bytes) -> Iterator[int]:
        """Yield for each byte of `text` how many bytes from there on stand somewhere in this one as well.

        No match ends before that of an earlier byte does. So one that is long is compared once, and not again for
        each byte of it: those after it have the same end, up to the first from which on one more byte stands here,
        and that is found by halves.
        """
        place, end = 0, 0
        while place < len(text):
            end = place + self._longest(text, place, end - place)
            following = end if end == len(text) else self._first_beyond(text, place, end)
            yield from range(end - place, end - following, -1)
            place = following

    def _longest(self, text: bytes, place: int, known: int) -> int:
        """Return the length of the match at a place, at least `known`; one of its neighbours in the order has it."""
        size = max(SHORT, 2 * known)
        while True:
            piece = text[place : place + size]
            at = bisect_left(self._order, piece, key=lambda start: self._text[start : start + size])
            neighbours = self._order[max(0, at - 1) : at + 1]
            longest = max((_common(piece, self._text[start : start + size]) for start in neighbours), default=0)
            if longest < size:
                return longest
            size *= 4

    def _first_beyond(self, text: bytes, place: int, end: int) -> int:
        """Return the first place after `place` from which the text up to `end`, that byte included, stands here."""
        step = 1
        while not self._has(text[place + step : end + 1]):
            step *= 2
        places = range(place + step // 2 + 1, place + step)
        return places.start + bisect_left(places, True, key=lambda start: self._has(text[start : end + 1]))

    def _has(self, piece: bytes) -> bool:
        at = bisect_left(self._order, piece, key=lambda start: self._text[start : start + len(piece)])
        return not piece or (at < len(self._order) and self._text.startswith(piece, self._order[at]))


def _common(one: bytes, other: bytes) -> int:
    """Return how many bytes two texts have in common at their beginnings."""
    size = min(len(one), len(other))
    differs = int.from_bytes(one[:size], "big") ^ int.from_bytes(other[:size], "big")
    return size - (differs.bit_length() + 7) // 8
