"""How much of a sample stands word for word in the training text, beside how much of the held-out text does.

The control is what makes the figures mean something: real text of the same source repeats itself too. The unit is the
byte of UTF-8, so that models of different tokenizers compare. Pure functions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gptmodel.data.prepared import PreparedData, beginning
from gptmodel.data.suffixes import Suffixes

MOST_BYTES = 1 << 26
"""Of the training text that are searched, its beginning: see `train_suffixes`."""
GRAMS = (8, 16, 32)
"""Lengths, in bytes, of the passages whose share is told."""


@dataclass(frozen=True)
class Copies:
    """What some texts have in common with the training text."""

    texts: tuple[str, ...]
    matches: tuple[NDArray[np.int64], ...]
    """For each text, the bytes from each byte on that stand in the training text as they are."""

    @property
    def longest_passage(self) -> str:
        """The longest passage that stands in the training text; of a character that is cut, nothing."""
        passages = [b""]
        for text, lengths in zip(self.texts, self.matches, strict=True):
            if len(lengths):
                start = int(lengths.argmax())
                passages.append(text.encode()[start : start + int(lengths[start])])
        return max(passages, key=len).decode(errors="ignore")

    def metrics(self) -> dict[str, Any]:
        """Return lengths in bytes, and the share of passages of each length that were found; None where none fits."""
        lengths = np.concatenate([*self.matches, np.empty(0, np.int64)])
        return {
            "bytes": len(lengths),
            "longest": int(lengths.max(initial=0)),
            "longest_passage": self.longest_passage,
            "mean": float(lengths.mean()) if len(lengths) else None,
            **{f"share_{count}": self._share(count) for count in GRAMS},
        }

    def spans(self) -> list[list[list[int]]]:
        """Return for each text the passages of at least 8 bytes that were found: [start, end] in characters.

        None of them lies within another.
        """
        return [_spans(*pair) for pair in zip(self.texts, self.matches, strict=True)]

    def _share(self, count: int) -> float | None:
        """Return the share of the passages of `count` bytes that stand in the training text."""
        parts = [lengths[: max(0, len(lengths) - count + 1)] for lengths in self.matches]
        fitting = np.concatenate([*parts, np.empty(0, np.int64)])
        return float((fitting >= count).mean()) if len(fitting) else None


@dataclass(frozen=True)
class Memorisation:
    """The copies in what a model wrote, and those in as much held-out text."""

    samples: Copies
    held_out: Copies
    first_mb: int | None = None
    """What of the training text was searched, from its beginning; None for all."""

    def content(self) -> dict[str, Any]:
        """Return the content of metrics/memorisation.json; `texts` are the samples with their copied passages."""
        texts = [
            {"text": text, "copied": spans}
            for text, spans in zip(self.samples.texts, self.samples.spans(), strict=True)
        ]
        return {
            "unit": "byte of UTF-8",
            "samples": self.samples.metrics(),
            "held_out": self.held_out.metrics(),
            "sentence": self.sentence(),
            "texts": texts,
            **({} if self.first_mb is None else {"train_first_mb": self.first_mb}),
        }

    def sentence(self) -> str:
        """Return what a person should know."""
        ours, real = self.samples.metrics(), self.held_out.metrics()
        if not ours["bytes"] or not real["bytes"]:
            return "nothing was written that could be a copy"
        lengths = [sum(map(len, copies.texts)) for copies in (self.samples, self.held_out)]
        control = "as much held-out text" if lengths[0] <= lengths[1] else "less held-out text, as there is no more,"
        part = "" if self.first_mb is None else f"first {self.first_mb} MB of the "
        return (
            f"the longest passage copied from the {part}training text is {_characters(self.samples)}; {control} "
            f"repeats {_characters(self.held_out)}. On average a match goes on for {ours['mean']:.1f} bytes, "
            f"in held-out text for {real['mean']:.1f}"
        )


def train_suffixes(data: PreparedData) -> tuple[Suffixes, int | None]:
    """Return what the train split is searched with, and how many MB of it, from its beginning; None for all of it.

    To make it takes half a second for 5 MB, and about eight bytes of memory for each byte; it keeps five.
    """
    first = beginning(data.train.ids, data.tokenizer, MOST_BYTES)
    first_mb = None if len(first) == len(data.train.ids) else MOST_BYTES >> 20
    return Suffixes(data.tokenizer.decode(first).encode()), first_mb


def memorisation(written: Sequence[str], data: PreparedData) -> Memorisation:
    """Look for what a model wrote, without the prompts, in the train split; and for as much of the val split."""
    suffixes, first_mb = train_suffixes(data)
    held_out = _evenly_cut(data, [len(text) for text in written])
    return Memorisation(_copies(written, suffixes), _copies(held_out, suffixes), first_mb)


def _copies(texts: Sequence[str], suffixes: Suffixes) -> Copies:
    return Copies(tuple(texts), tuple(np.fromiter(suffixes.longest_matches(text.encode()), np.int64) for text in texts))


def _evenly_cut(data: PreparedData, lengths: Sequence[int]) -> list[str]:
    """Return pieces of the val split, as long as the texts in characters, spread over it; less where it is short."""
    text = data.tokenizer.decode(beginning(data.val.ids, data.tokenizer, MOST_BYTES))
    starts = [max(0, len(text) - length) * number // max(1, len(lengths) - 1) for number, length in enumerate(lengths)]
    return [text[start : start + length] for start, length in zip(starts, lengths, strict=True)]


def _characters(copies: Copies) -> str:
    count = len(copies.longest_passage)
    return f"{count} character{'s' if count != 1 else ''}"


def _spans(text: str, lengths: NDArray[np.int64]) -> list[list[int]]:
    """Return the matches that lie in no other and are long enough, in characters; of one that is cut, nothing."""
    before = np.concatenate((np.zeros(1, np.int64), lengths))[:-1]
    starts = np.flatnonzero((lengths >= GRAMS[0]) & (lengths >= before))  # within a match, they shrink by one a byte
    ends = starts + lengths[starts]
    is_first = np.append(np.frombuffer(text.encode(), np.int8) >= -64, True)  # (m + 1,) byte of a character, or the end
    number = np.concatenate((np.zeros(1, np.int64), np.cumsum(is_first[:-1])))  # (m + 1,) of characters before a byte
    return np.stack((number[starts], number[ends] - (~is_first[ends]).astype(np.int64)), axis=1).tolist()  # type: ignore[no-any-return]
