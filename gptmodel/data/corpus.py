"""A text file -> a tokenizer and the token files of two splits, in memory that does not grow with the text.

Passes over the text: one that counts and checks it, one for a tokenizer that is learnt from it, one that is encoded.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from gptmodel.data.documents import Document
from gptmodel.data.local_files import val_path
from gptmodel.data.prepared import TEST, TOKENIZER, TRAIN, VAL
from gptmodel.data.text_file import Text, cut, splits, survey
from gptmodel.data.tokens import token_writer
from gptmodel.errors import DataError
from gptmodel.files import remove_leftovers
from gptmodel.prepare_params import PrepareParams
from gptmodel.tokenizers.base import Tokenizer
from gptmodel.tokenizers.kinds import KINDS, save_tokenizer

MIN_SPLIT = 2


@dataclass(frozen=True)
class PrepareReport:
    """What `prepare` made of a text."""

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
    test_tokens: int | None = None
    """None without a test split."""
    val_text_sha256: str | None = None
    """Digest of prepare.val_source, unpacked; None where a part of the text validates."""

    def metrics(self, documents: Sequence[Document] = ()) -> dict[str, Any]:
        """Return the content of metrics/prepare.json: what is not there is not named, but for characters.

        The `documents` that the text was made of are named where there are several.
        """
        values = asdict(self)
        left_out = {key for key in ("test_tokens", "val_text_sha256") if values[key] is None} | {"mark_left_out"}
        named = {key: value for key, value in values.items() if key not in left_out}
        return named | ({"documents": list(map(asdict, documents))} if len(documents) > 1 else {})


def prepare(path: Path, out: Path, params: PrepareParams, root: Path = Path()) -> PrepareReport:
    """Write tokenizer.json, train.bin and val.bin, and test.bin if there is a part for it, below `out`.

    The first `train_fraction` of the characters of the text file `path` train, or of its bytes where it is not UTF-8.
    The text is kept exactly, but for a byte order mark: the splits, decoded and joined, are the text again. With a
    `val_source`, which starts at `root`, that file validates instead. No file is written when DataError is raised: a
    text is missing, empty, not UTF-8, of a single character, too short, or being changed.
    """
    text = survey(path, KINDS[params.tokenizer].unit)
    val_text = survey_val(params, root)
    units = split_units(params, text.units)
    tokenizer = learn(params, text, val_text, units)
    names = (TRAIN, VAL, TEST) if params.test_fraction else (TRAIN, VAL)
    counts = _write_splits(out, names, tokenizer, text, val_text, units)
    return PrepareReport(
        tokenizer=tokenizer.kind,
        tokenizer_digest=tokenizer.digest,
        vocab_size=tokenizer.vocab_size,
        characters=text.units if text.unit == "character" else None,
        bytes=text.size,
        train_tokens=counts[0],
        val_tokens=counts[1],
        text_sha256=text.sha256,
        mark_left_out=text.start > 0,
        test_tokens=counts[2] if TEST in names else None,
        val_text_sha256=val_text.sha256 if val_text is not None else None,
    )


def survey_val(params: PrepareParams, root: Path) -> Text | None:
    """Read prepare.val_source once, as `survey` does, also a packed one; None if a part of the text validates."""
    if params.val_source is None:
        return None
    path = root / val_path(params.val_source, root)
    try:
        return survey(path, KINDS[params.tokenizer].unit)
    except DataError as error:
        fault = str(error).removeprefix(str(path))
        raise DataError(f"prepare.val_source = {params.val_source}{fault}") from None


def learn(params: PrepareParams, text: Text, val_text: Text | None, units: tuple[int, int, int]) -> Tokenizer:
    """Return the tokenizer that prepare.tokenizer asks for, of this text."""
    kind = KINDS[params.tokenizer]
    if kind.learns_from_train:
        with split_chunks(text, val_text, units) as (train, val, test):
            return kind.fit(train, chain(val, test), params.vocab_size)
    characters = text.characters + (val_text.characters if val_text is not None else "")
    return kind.fit([characters.encode()], [], params.vocab_size)


def split_units(params: PrepareParams, units: int) -> tuple[int, int, int]:
    """Return how many of a text's characters or bytes train, validate and are for the test, in this order."""
    test = int(params.test_fraction * units)
    train = units - test if params.val_source is not None else int(params.train_fraction * units)
    return train, units - train - test, test


@contextmanager
def split_chunks(
    text: Text, val_text: Text | None, units: tuple[int, int, int]
) -> Iterator[tuple[Iterator[bytes], Iterator[bytes], Iterator[bytes]]]:
    """Give the chunks of the three splits for one pass, as `splits` gives those of two."""
    with ExitStack() as stack:
        train, others = stack.enter_context(splits(text, units[0]))
        if val_text is not None:
            yield train, stack.enter_context(splits(val_text, val_text.units))[0], others
        elif units[2]:
            yield train, *cut(others, units[1], text.unit)
        else:
            yield train, others, iter(())


def check_splits(train_count: int, val_count: int, block_size: int) -> None:
    """Raise DataError unless each split, of so many tokens, holds a sequence of block_size tokens and its targets."""
    for split, count in (("train", train_count), ("val", val_count)):
        if count < block_size + 1:
            raise DataError(
                f"the {split} split has {count} tokens, but model.block_size = {block_size} needs {block_size + 1}; "
                "use a smaller model.block_size, a longer text or another prepare.train_fraction"
            )


def _deciding(names: Sequence[str], val_text: Text | None) -> str:
    """Name the settings that decide where the text is cut."""
    test = "prepare.test_fraction" if TEST in names else ""
    return " or ".join(filter(None, ("prepare.val_source" if val_text is not None else "prepare.train_fraction", test)))


def _write_splits(
    out: Path,
    names: Sequence[str],
    tokenizer: Tokenizer,
    text: Text,
    val_text: Text | None,
    units: tuple[int, int, int],
) -> list[int]:
    """Write the files of the splits that are asked for by name, and return the number of tokens of each."""
    for name in (TRAIN, VAL, TEST, TOKENIZER):
        remove_leftovers(out / name)
    size, digest = tokenizer.vocab_size, tokenizer.digest
    with ExitStack() as stack:  # no file takes its place before all are complete
        writers = [stack.enter_context(token_writer(out / name, size, digest)) for name in names]
        with split_chunks(text, val_text, units) as chunks:
            for writer, part in zip(writers, chunks, strict=False):
                for ids in tokenizer.encode_stream(part):
                    writer.append(ids)
        counts = [writer.count for writer in writers]
        if min(counts) < MIN_SPLIT:
            uses = zip(counts, ("train", "validate", "test"), strict=False)
            shares = " and ".join(f"{count} to {use}" for count, use in uses)
            raise DataError(
                f"{text.path}: {sum(counts)} tokens leave {shares}, but each split needs {MIN_SPLIT}; "
                f"use a longer text or another {_deciding(names, val_text)}"
            )
    save_tokenizer(out / TOKENIZER, tokenizer)
    if TEST not in names:
        (out / TEST).unlink(missing_ok=True)  # of another test_fraction
    return counts
