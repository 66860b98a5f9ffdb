"""What of a text stands word for word in the text that a model was trained on, where that is here."""

from collections.abc import Generator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from gptmodel.data.prepared import PreparedData, beginning, load_prepared
from gptmodel.data.suffixes import Suffixes
from gptmodel.errors import DataError
from gptmodel.evaluation.memorisation import MOST_BYTES, Copies
from gptmodel.language_model import LanguageModel

TURN = 256
"""Bytes that are looked up in a turn: some milliseconds."""


class TrainingText:
    """The train split of a model; DataError where data/prepared is not what the model was trained on."""

    def __init__(self, folder: Path, model: LanguageModel) -> None:
        data = load_prepared(folder)
        if data.digests() != model.provenance.get("data"):
            raise DataError(f"{folder} is not what the model was trained on; `dvc repro` makes both from one text")
        self._data: PreparedData = data

    @cached_property
    def _suffixes(self) -> Suffixes:
        """Made at the first question: it takes half a second for 5 MB, and about five times the text's memory."""
        tokenizer = self._data.tokenizer
        return Suffixes(tokenizer.decode(beginning(self._data.train.ids, tokenizer, MOST_BYTES)).encode())

    def copied(self, text: str) -> Generator[dict[str, Any] | None, None, None]:
        """Yield the passages of at least 8 bytes that stand there, none within another, in characters.

        Before that it yields None again and again: a search can be left, and others have their turns meanwhile.
        """
        lengths: list[int] = []
        for length in self._suffixes.longest_matches(text.encode()):
            if len(lengths) % TURN == 0:
                yield None
            lengths.append(length)
        copies = Copies((text,), (np.array(lengths),))
        spans = [{"start": start, "end": end, "length": end - start} for start, end in copies.spans()[0]]
        yield {"spans": spans, "longest": len(copies.longest_passage)}
