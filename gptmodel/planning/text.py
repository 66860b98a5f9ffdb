"""What a plan knows of the text, however far the pipeline has come; nothing is written.

The prepared data where it fits the settings, else the text, else what is known of the text that fetch would get.
"""

from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gptmodel.address import without_password
from gptmodel.data.corpus import learn, split_units, survey_val
from gptmodel.data.prepared import TOKENIZER, TRAIN, VAL, PreparedData, load_prepared, scored_bytes
from gptmodel.data.text_file import Text, cut, survey
from gptmodel.data.tokens import HEADER_BYTES, id_dtype
from gptmodel.data.unpack import is_packed
from gptmodel.errors import DataError
from gptmodel.fetch_params import FetchParams
from gptmodel.files import json_bytes
from gptmodel.prepare_params import PrepareParams
from gptmodel.project.layout import project_root, source_path
from gptmodel.tokenizers.base import Tokenizer, Unit
from gptmodel.tokenizers.kinds import KINDS

SHAKESPEARE_BYTES, SHAKESPEARE_CHARACTERS = 4_998_157, 78
SAMPLE_UNITS = 8 << 20  # characters or bytes of a text that is not prepared, to measure on
ASSUMED_CHARACTERS = 1 << 20


@dataclass(frozen=True, kw_only=True)
class PlannedText:
    """The sizes of both splits, and ids to measure with."""

    ids: NDArray[Any]  # (n,) of the train split, or of as much of the text as was read
    train_tokens: int
    val_tokens: int
    tokenizer: Tokenizer
    origin: str  # where all this is from, in words
    is_there: bool = True  # else tokenizer and ids stand in for those of a text that is not fetched yet

    @property
    def file_bytes(self) -> int:
        """Bytes of data/prepared."""
        ids = (self.train_tokens + self.val_tokens) * id_dtype(self.tokenizer.vocab_size).itemsize
        return 2 * HEADER_BYTES + ids + len(json_bytes(self.tokenizer.to_json()))


def find_text(fetch: FetchParams, params: PrepareParams, prepared: Path, text: Path) -> PlannedText:
    """Return the text of a plan; DataError when there is none and nothing is known of it."""
    source = source_path(fetch.source)
    if source is not None and not is_packed(source.name) and (project_root() / source).is_file():
        text = project_root() / source
    surveyed = survey(text, KINDS[params.tokenizer].unit) if text.is_file() else None
    if all((prepared / name).is_file() for name in (TOKENIZER, TRAIN, VAL)):
        data = load_prepared(prepared)
        if _is_asked_for(data.tokenizer, params) and _fits(data, params, surveyed):
            counts = len(data.train.ids), len(data.val.ids)
            return _planned(data.train.ids, counts, data.tokenizer, f"{prepared}")
    if surveyed is not None:
        return _read(surveyed, params)
    if fetch.source == "shakespeare":
        return _assumed(params)
    raise DataError(
        f"{text}: no such text, and its size cannot be guessed (fetch.source is {without_password(fetch.source)}); "
        "put a text there, or run `dvc repro prepare` first"
    )


def _is_asked_for(tokenizer: Tokenizer, params: PrepareParams) -> bool:
    return tokenizer.kind == params.tokenizer and params.vocab_size in (None, tokenizer.vocab_size)


def _fits(data: PreparedData, params: PrepareParams, text: Text | None) -> bool:
    """Whether prepare would cut the text as the prepared data are, as far as sizes tell."""
    train, val = data.train.ids, data.val.ids
    if text is None:  # tokens are nearly as long in one split as in the other
        shares = split_units(params, 1_000_000)
        expected = shares[0] / max(1, shares[0] + shares[1]) * (len(train) + len(val))
        return params.val_source is not None or abs(len(train) - expected) <= 0.01 * (len(train) + len(val))
    lengths, units = data.tokenizer.byte_lengths(), split_units(params, text.units)
    prepared = [scored_bytes(ids, data.tokenizer) + int(lengths[ids[:1]].sum()) for ids in (train, val)]
    with closing(text.chunks()) as chunks:
        first, others = cut(chunks, units[0], text.unit)
        parts = [sum(map(len, first)), sum(map(len, cut(others, units[1], text.unit)[0]))]
    return prepared[0] == parts[0] and (params.val_source is not None or prepared[1] == parts[1])


def _read(text: Text, params: PrepareParams) -> PlannedText:
    """Encode the beginning of each split, and count the tokens by it: exactly where that is all."""
    units = split_units(params, text.units)
    train_units, val_units, _ = units
    val_text = survey_val(params, project_root())
    tokenizer = learn(params, text, val_text, units)
    with ExitStack() as stack:
        train, val = cut(stack.enter_context(closing(text.chunks())), train_units, text.unit)
        ids, train_tokens = _beginning(train, train_units, text.unit, tokenizer)
        if val_text is not None:
            val, val_units = stack.enter_context(closing(val_text.chunks())), val_text.units
        _, val_tokens = _beginning(val, val_units, text.unit, tokenizer)
    return _planned(ids, (train_tokens, val_tokens), tokenizer, f"{text.path}, which is not prepared yet")


def _beginning(chunks: Iterator[bytes], units: int, unit: Unit, tokenizer: Tokenizer) -> tuple[NDArray[Any], int]:
    """Return the ids of the beginning of a split of so many units, and how many tokens it has in all by that."""
    sample_units = min(units, SAMPLE_UNITS)
    beginning, _ = cut(chunks, sample_units, unit)
    ids = np.concatenate([np.empty(0, np.uint8), *tokenizer.encode_stream(beginning)])
    return ids, units * len(ids) // max(1, sample_units)


def _assumed(params: PrepareParams) -> PlannedText:
    """Return the ids of random characters, as many distinct ones as the plays have, the usual ones as in a language."""
    weights = 1.0 / np.arange(1, SHAKESPEARE_CHARACTERS + 1)
    drawn = np.random.default_rng(0).choice(SHAKESPEARE_CHARACTERS, ASSUMED_CHARACTERS, p=weights / weights.sum())
    text = (ord("!") + drawn).astype(np.uint8).tobytes()
    tokenizer = KINDS[params.tokenizer].fit([text], [], params.vocab_size)
    ids = np.concatenate(list(tokenizer.encode_stream([text])))
    count = SHAKESPEARE_BYTES * len(ids) // len(text)
    train, val, _ = split_units(params, count)
    origin = "there is none yet, so random token ids stand in for it, as many as fetch.source shakespeare has (5.0 MB)"
    return replace(_planned(ids, (train, val), tokenizer, origin), is_there=False)


def _planned(ids: NDArray[Any], counts: tuple[int, int], tokenizer: Tokenizer, origin: str) -> PlannedText:
    return PlannedText(ids=ids, train_tokens=counts[0], val_tokens=counts[1], tokenizer=tokenizer, origin=origin)
