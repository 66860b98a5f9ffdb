"""Texts cut into pieces that a page gives a colour or a line: by surprise, or by what is copied. Pure functions."""

from collections.abc import Sequence
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
    """Colour each token by its loss."""
    return _joined(tokens, "n", nats, SURPRISE)


def by_copies(text: str, spans: Sequence[Sequence[int]]) -> list[Piece]:
    """Mark the passages [start, end], in characters, that are copied: where several meet, by the longest."""
    longest = [0] * len(text)
    for start, end in spans:
        for place in range(start, end):
            longest[place] = max(longest[place], end - start)
    return _joined(text, "c", longest, COPIED)


def _joined(parts: Sequence[str], letter: str, values: Sequence[float], steps: Sequence[float]) -> list[Piece]:
    """Give each part the look of the steps that its value reaches; neighbours of one look are one piece."""
    levels = [sum(value >= least for least in steps) for value in values]
    runs = groupby(zip(parts, levels, strict=True), key=lambda pair: pair[1])
    return [Piece("".join(part for part, _ in pairs), f"{letter}{level}" if level else "") for level, pairs in runs]
