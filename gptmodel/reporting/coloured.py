"""Texts cut into pieces that a page gives a colour or a line: by surprise, or by what is copied. Pure functions."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

SURPRISE = (1.0, 2.0, 3.5, 5.0, 7.0)
"""Nats of a token from which on it has the next darker colour."""
COPIED = (8, 16, 32)
"""Characters of a copied passage from which on it has the next stronger line."""


class Piece(NamedTuple):
    """A part of a text that looks the same."""

    text: str
    look: str
    """A class of the style sheet, "" for none."""


def by_surprise(tokens: Sequence[str], nats: Sequence[float]) -> list[Piece]:
    """Colour each token by its loss; neighbours of one colour are one piece."""
    levels = [sum(loss >= least for least in SURPRISE) for loss in nats]
    return _joined(tokens, [f"n{level}" if level else "" for level in levels])


def by_copies(text: str, spans: Sequence[Sequence[int]]) -> list[Piece]:
    """Mark the passages [start, end], in characters, that are copied: where several meet, by the longest."""
    longest = [0] * len(text)
    for start, end in spans:
        for place in range(start, end):
            longest[place] = max(longest[place], end - start)
    levels = [sum(length >= least for least in COPIED) for length in longest]
    return _joined(text, [f"c{level}" if level else "" for level in levels])


def _joined(parts: Sequence[str], looks: Sequence[str]) -> list[Piece]:
    def pieces() -> Iterator[Piece]:
        for look, pairs in groupby(zip(parts, looks, strict=True), key=lambda pair: pair[1]):
            yield Piece("".join(part for part, _ in pairs), look)

    return list(pieces())
