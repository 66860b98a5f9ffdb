"""A text file -> a tokenizer and the token files of two splits, in memory that does not grow with the text.

Passes over the text: one that counts and checks it, one from which the tokenizer is learnt, one that is encoded.
"""

from dataclasses import dataclass
from pathlib import Path

from gptmodel.config import PrepareParams
from gptmodel.data.prepared import TOKENIZER, TRAIN, VAL
from gptmodel.data.text_file import Text, splits, survey
from gptmodel.data.tokens import TokenWriter
from gptmodel.errors import DataError
from gptmodel.files import remove_leftovers
from gptmodel.tokenizers.base import Tokenizer
from gptmodel.tokenizers.kinds import KINDS, save_tokenizer

MIN_SPLIT = 2


@dataclass(frozen=True)
class PrepareReport:
    """What `prepare` made of a text; metrics/prepare.json holds these values, but for the last."""

    tokenizer: str
    tokenizer_digest: str
    vocab_size: int
    characters: int | None
    """Characters of the text, or None for one that is not UTF-8, which a tokenizer of bytes takes too."""
    bytes: int
    """Size of the file."""
    train_tokens: int
    val_tokens: int
    text_sha256: str
    mark_left_out: bool
    """Whether the file begins with a byte order mark, which is no character of the text."""


def prepare(path: Path, out: Path, params: PrepareParams) -> PrepareReport:
    """Write tokenizer.json, train.bin and val.bin below `out` from the text file `path`.

    The first `train_fraction` of the text's characters train, or of its bytes where it is not UTF-8. The text is kept
    exactly, but for a byte order mark: the two splits, decoded and joined, are the text again. No file is written when
    DataError is raised: the text is missing, empty, not UTF-8, of a single character, too short, or being changed.
    """
    kind = KINDS[params.tokenizer]
    text = survey(path, kind.unit)
    train_units = int(params.train_fraction * text.units)
    with splits(text, train_units) as (train, val):
        tokenizer = kind.fit(train, val, params.vocab_size)
    train_tokens, val_tokens = _write_splits(out, tokenizer, text, train_units)
    return PrepareReport(
        tokenizer=tokenizer.kind,
        tokenizer_digest=tokenizer.digest,
        vocab_size=tokenizer.vocab_size,
        characters=text.units if text.unit == "character" else None,
        bytes=text.size,
        train_tokens=train_tokens,
        val_tokens=val_tokens,
        text_sha256=text.sha256,
        mark_left_out=text.start > 0,
    )


def check_splits(train_count: int, val_count: int, block_size: int) -> None:
    """Raise DataError unless each split, of so many tokens, holds a sequence of block_size tokens and its targets."""
    for split, count in (("train", train_count), ("val", val_count)):
        if count < block_size + 1:
            raise DataError(
                f"the {split} split has {count} tokens, but model.block_size = {block_size} needs {block_size + 1}; "
                "use a smaller model.block_size, a longer text or another prepare.train_fraction"
            )


def _write_splits(out: Path, tokenizer: Tokenizer, text: Text, train_units: int) -> tuple[int, int]:
    """Write the three files, and return the number of tokens of both splits."""
    for name in (TRAIN, VAL, TOKENIZER):
        remove_leftovers(out / name)
    writers = [TokenWriter(out / name, tokenizer.vocab_size, tokenizer.digest) for name in (TRAIN, VAL)]
    with writers[0], writers[1]:  # no file takes its place before all are complete
        with splits(text, train_units) as chunks:
            for writer, part in zip(writers, chunks, strict=True):
                for ids in tokenizer.encode_stream(part):
                    writer.append(ids)
        train, val = (writer.count for writer in writers)
        if min(train, val) < MIN_SPLIT:
            raise DataError(
                f"{text.path}: {train + val} tokens leave {train} to train and {val} to validate, but each "
                f"split needs {MIN_SPLIT}; use a longer text or another prepare.train_fraction"
            )
    save_tokenizer(out / TOKENIZER, tokenizer)
    return train, val
