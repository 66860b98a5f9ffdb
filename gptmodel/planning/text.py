"""What a plan knows of the text, however far the pipeline has come; nothing is written.

The prepared data where it fits the settings, else the text, else what is known of the text that fetch would get.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gptmodel.config import FetchParams, PrepareParams
from gptmodel.data.corpus import CHUNK_BYTES, Tally, collect_characters, read_bytes, read_text
from gptmodel.data.prepared import TOKENIZER, TRAIN, VAL, PreparedData, load_prepared, scored_bytes
from gptmodel.data.tokens import HEADER_BYTES, id_dtype
from gptmodel.errors import DataError
from gptmodel.files import json_bytes
from gptmodel.tokenizers.base import Tokenizer
from gptmodel.tokenizers.byte import ByteTokenizer
from gptmodel.tokenizers.char import CharTokenizer

SHAKESPEARE_BYTES, SHAKESPEARE_CHARACTERS = 4_998_157, 78
SAMPLE_BYTES = 8 << 20  # of a text that is not prepared, to measure on
ASSUMED_IDS = 1 << 20


@dataclass(frozen=True, kw_only=True)
class PlannedText:
    """The sizes of both splits, and ids to measure with."""

    ids: NDArray[Any]  # (n,) of the train split, or of as much of the text as was read
    train_tokens: int
    val_tokens: int
    tokenizer: Tokenizer
    origin: str  # where all this is from, in words

    @property
    def file_bytes(self) -> int:
        """Bytes of data/prepared."""
        ids = (self.train_tokens + self.val_tokens) * id_dtype(self.tokenizer.vocab_size).itemsize
        return 2 * HEADER_BYTES + ids + len(json_bytes(self.tokenizer.to_json()))


def find_text(fetch: FetchParams, params: PrepareParams, prepared: Path, text: Path) -> PlannedText:
    """Return the text of a plan; DataError when there is none and nothing is known of it."""
    given = Path(fetch.source)
    if fetch.source not in ("own", "shakespeare") and "://" not in fetch.source and given.is_file():
        text = given
    if all((prepared / name).is_file() for name in (TOKENIZER, TRAIN, VAL)):
        data = load_prepared(prepared)
        if _fits(data, params, text):
            counts = len(data.train.ids), len(data.val.ids)
            return _planned(data.train.ids, counts, data.tokenizer, f"{prepared}")
    if text.is_file():
        return _read(text, params)
    if fetch.source == "shakespeare":
        return _assumed(params)
    raise DataError(
        f"{text}: no such text, and its size cannot be guessed (fetch.source is {fetch.source}); "
        "put a text there, or run `dvc repro prepare` first"
    )


def _fits(data: PreparedData, params: PrepareParams, text: Path) -> bool:
    """Whether prepare would make the same of the text again, as far as sizes tell."""
    splits = data.train.ids, data.val.ids
    cut = int(params.train_fraction * sum(map(len, splits)))
    if data.tokenizer.kind != params.tokenizer or len(data.train.ids) != cut:
        return False
    if not text.is_file():
        return True
    lengths = data.tokenizer.byte_lengths()
    return text.stat().st_size == sum(scored_bytes(ids, data.tokenizer) + int(lengths[ids[:1]].sum()) for ids in splits)


def _read(text: Path, params: PrepareParams) -> PlannedText:
    """Count the tokens of a text, and take the ids of its beginning."""
    tally, again = Tally(), Tally()
    tokenizer: Tokenizer
    parts: Iterator[NDArray[Any]]
    if params.tokenizer == "byte":
        tokenizer, count = ByteTokenizer(), text.stat().st_size
        parts = (np.frombuffer(chunk, np.uint8) for chunk in read_bytes(text, again))
    else:
        tokenizer = CharTokenizer(collect_characters(text, tally))
        count, parts = tally.characters, (tokenizer.encode_array(part) for part in read_text(text, again))
    ids = np.concatenate([np.empty(0, np.uint8), *islice(parts, SAMPLE_BYTES // CHUNK_BYTES)])
    train = int(params.train_fraction * count)
    return _planned(ids[:train], (train, count - train), tokenizer, f"{text}, which is not prepared yet")


def _assumed(params: PrepareParams) -> PlannedText:
    """Return random ids, the usual ones as frequent as in a language, in the number the plays are known to have."""
    tokenizer: Tokenizer = ByteTokenizer()
    if params.tokenizer == "char":
        tokenizer = CharTokenizer(chr(33 + idx) for idx in range(SHAKESPEARE_CHARACTERS))
    weights = 1.0 / np.arange(1, min(tokenizer.vocab_size, SHAKESPEARE_CHARACTERS) + 1)
    ids = np.random.default_rng(0).choice(len(weights), ASSUMED_IDS, p=weights / weights.sum()).astype(np.uint8)
    train = int(params.train_fraction * SHAKESPEARE_BYTES)
    origin = "no text is here yet: random token ids, as many as fetch.source shakespeare has (5.0 MB)"
    return _planned(ids, (train, SHAKESPEARE_BYTES - train), tokenizer, origin)


def _planned(ids: NDArray[Any], counts: tuple[int, int], tokenizer: Tokenizer, origin: str) -> PlannedText:
    return PlannedText(ids=ids, train_tokens=counts[0], val_tokens=counts[1], tokenizer=tokenizer, origin=origin)
