"""What of a text stands word for word in the text that a model was trained on, where that is here."""

from collections.abc import Generator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from gptmodel.data.prepared import PreparedData, load_prepared
from gptmodel.data.suffixes import Suffixes
from gptmodel.errors import DataError
from gptmodel.evaluation.memorisation import Copies, train_suffixes
from gptmodel.language_model import LanguageModel

TURN = 256
"""Bytes that are looked up in a turn: some milliseconds."""


class TrainingText:
    """The train split in data/prepared, for all models that were trained on it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def check(self, model: LanguageModel) -> None:
        """Raise DataError unless the model was trained on it."""
        if self._data.digests() != model.provenance.get("data"):
            raise DataError(
                f"{self._folder} is not what the model was trained on; `dvc repro` makes both from one text"
            )

    @cached_property
    def _data(self) -> PreparedData:
        return load_prepared(self._folder)

    @cached_property
    def _suffixes(self) -> tuple[Suffixes, int | None]:
        return train_suffixes(self._data)  # at the first question

    def copied(self, text: str) -> Generator[dict[str, Any] | None, None, None]:
        """Yield the passages of at least 8 bytes that stand there, none within another, in characters.

        `first_mb` tells of a long text how much was searched, from its beginning. Before all that it yields None again
        and again: a search can be left, and others have their turns meanwhile.
        """
        lengths: list[int] = []
        suffixes, first_mb = self._suffixes
        for length in suffixes.longest_matches(text.encode()):
            if len(lengths) % TURN == 0:
                yield None
            lengths.append(length)
        copies = Copies((text,), (np.array(lengths),))
        spans = [{"start": start, "end": end, "length": end - start} for start, end in copies.spans()[0]]
        part = {} if first_mb is None else {"first_mb": first_mb}
        yield {"spans": spans, "longest": len(copies.longest_passage), **part}
