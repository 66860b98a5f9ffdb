"""What every tokenizer can do, and how one is saved to and loaded from a JSON file.

It does not choose a tokenizer for a text: that is `gptmodel.data.corpus`.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from gptmodel.errors import DataError
from gptmodel.files import json_bytes, read_json, write_json

OnUnknown = Literal["error", "replace"]
Ids = NDArray[np.unsignedinteger[Any]]


class TextStream(Protocol):
    """Turns token ids into text one at a time, where a character may take several tokens."""

    def push(self, idx: int) -> str:
        """Take one token id and return the text that is now complete, "" if there is none."""

    def finish(self) -> str:
        """Return what is left; all that was returned, joined, is `decode` of all ids pushed."""


class Tokenizer(Protocol):
    """Text <-> token ids 0 ... vocab_size - 1."""

    kind: ClassVar[str]

    @property
    def vocab_size(self) -> int:
        """Number of token ids."""

    @property
    def digest(self) -> str:
        """SHA-256 of the tokenizer's JSON, as hex: equal for equal tokenizers and for no others."""

    def encode(self, text: str, on_unknown: OnUnknown = "error") -> list[int]:
        """Return the ids of `text`; DataError for what has no id, unless it is to be replaced."""

    def encode_array(self, text: str, on_unknown: OnUnknown = "error") -> Ids:
        """Return the same ids as `encode` as a 1-D array of unsigned integers, fast for long texts."""

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of `ids`; DataError for an id out of range."""

    def stream(self) -> TextStream:
        """Return a new decoder for ids that come one at a time."""

    def byte_lengths(self) -> NDArray[np.int64]:
        """Return the number of UTF-8 bytes of each token, shape (V,)."""

    def to_json(self) -> dict[str, Any]:
        """Return plain values, "kind" among them, from which `tokenizer_from_json` builds it again."""


def json_digest(value: dict[str, Any]) -> str:
    """Return the SHA-256 of a tokenizer's JSON, as hex."""
    return hashlib.sha256(json_bytes(value)).hexdigest()


def checked_ids(ids: Sequence[int], vocab_size: int) -> NDArray[np.int64]:
    """Return `ids` as an array; DataError names the first that is not in 0 ... vocab_size - 1."""
    try:
        array = np.asarray(ids, dtype=np.int64)
    except OverflowError:
        raise DataError(f"a token id is out of range: the tokenizer has {vocab_size} ids") from None
    wrong = (array < 0) | (array >= vocab_size)
    if wrong.any():
        first = int(wrong.argmax())
        raise DataError(f"token id {array[first]} at index {first} is out of range: the tokenizer has {vocab_size} ids")
    return array


def save_tokenizer(path: Path, tokenizer: Tokenizer) -> None:
    """Write a tokenizer to a JSON file, whole or not at all."""
    write_json(path, tokenizer.to_json())


def load_tokenizer(path: Path) -> Tokenizer:
    """Read a tokenizer from a JSON file; DataError when it is missing or anything in it is wrong."""
    try:
        value = read_json(path)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; run `dvc repro prepare` first") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise DataError(f"{error}; run `gptmodel prepare` again") from None
    return tokenizer_from_json(value, str(path))


def tokenizer_from_json(value: object, where: str) -> Tokenizer:
    """Build a tokenizer from what `to_json` gave; DataError names `where` the value came from, whatever it is."""
    from gptmodel.tokenizers.byte import ByteTokenizer
    from gptmodel.tokenizers.char import CharTokenizer

    if not isinstance(value, dict):
        raise DataError(f"{where}: not a tokenizer: has to be a JSON object; run `gptmodel prepare` again")
    match value:
        case {"kind": "byte", **rest} if not rest:
            return ByteTokenizer()
        case {"kind": "char", "characters": str(characters), **rest} if not rest:
            return CharTokenizer.from_saved(characters, where)
        case {"kind": "byte" | "char" as kind}:
            raise DataError(f"{where}: the fields of the {kind} tokenizer are wrong; run `gptmodel prepare` again")
        case _:
            raise DataError(f"{where}: the tokenizer's kind has to be char or byte; run `gptmodel prepare` again")
