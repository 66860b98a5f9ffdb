"""What every tokenizer can do, and what they share. It knows no kind of tokenizer: `kinds.py` does."""

import codecs
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any, ClassVar, Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from gptmodel.errors import DataError, EncodingError
from gptmodel.files import json_bytes

OnUnknown = Literal["error", "replace"]
Unit = Literal["character", "byte"]
Ids = NDArray[np.unsignedinteger[Any]]


class TextStream(Protocol):
    """Turns token ids into text one at a time, where a character may take several tokens."""

    def push(self, idx: int) -> str:
        """Take one token id and return the text that is now complete, "" if there is none."""

    def finish(self) -> str:
        """Return what is left; all that was returned, joined, is `decode` of all ids pushed."""


class Tokenizer(Protocol):
    """Text <-> token ids 0 ... vocab_size - 1.

    A text comes as chunks of bytes, cut anywhere: what a border cuts in two, the tokenizer puts together. Whatever its
    tokens are, a text is cut between two characters, so that all kinds validate on the same text.
    """

    kind: ClassVar[str]
    """Its name in prepare.tokenizer and in a tokenizer's JSON."""
    unit: ClassVar[Unit]
    """character: it reads UTF-8, and gets it checked. byte: it reads any other file too, which is cut in bytes then."""
    learns_from_train: ClassVar[bool]
    """Whether `fit` has to see the train split; else the distinct characters of a text, once each, are enough."""

    @classmethod
    def fit(cls, train: Iterable[bytes], val: Iterable[bytes], vocab_size: int | None) -> Self:
        """Return the tokenizer of a text, from the chunks of its two splits, which come once, train first.

        No token goes from one split into the other. An alphabet may be learnt from both, what makes a text shorter
        from `train` alone. `vocab_size` is prepare's, None for a kind whose size is not a choice. DataError where what
        it takes cannot be had.
        """

    @property
    def vocab_size(self) -> int:
        """Number of token ids."""

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the tokenizer's JSON, as hex: equal for equal tokenizers and for no others."""
        return json_digest(self.to_json())

    def encode(self, text: str, on_unknown: OnUnknown = "error") -> list[int]:
        """Return the ids of `text`; DataError for what has no id, unless it is to be replaced."""
        ids: list[int] = self.encode_array(text, on_unknown).tolist()
        return ids

    def encode_array(self, text: str, on_unknown: OnUnknown = "error") -> Ids:
        """Return the same ids as `encode` as a 1-D array of unsigned integers, fast for long texts."""

    def encode_stream(self, chunks: Iterable[bytes]) -> Iterator[Ids]:
        """Yield the ids of a text of any length, in arrays of any length: joined, they are `encode_array` of the text.

        How many there are shows when the last one is out. Raises DataError for what has no id.
        """

    def decode(self, ids: Sequence[int] | Ids) -> str:
        """Return the text of `ids`; DataError for an id out of range."""

    def stream(self) -> TextStream:
        """Return a new decoder for ids that come one at a time."""

    def token_bytes(self, idx: int) -> bytes:
        """Return the bytes of a token: those of all tokens of a text, joined, are its UTF-8."""

    def byte_lengths(self) -> NDArray[np.int64]:
        """Return the number of UTF-8 bytes of each token, shape (V,)."""

    def to_json(self) -> dict[str, Any]:
        """Return plain values, "kind" among them, from which `from_json` builds it again."""

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        """Build the tokenizer that was saved; DataError unless `value` is just what `to_json` gave."""


def can_encode(tokenizer: Tokenizer, text: str) -> bool:
    """Whether a text has ids."""
    try:
        tokenizer.encode(text)
    except DataError:
        return False
    return True


def json_digest(value: dict[str, Any]) -> str:
    """Return the SHA-256 of a tokenizer's JSON, as hex."""
    return hashlib.sha256(json_bytes(value)).hexdigest()


def utf8(text: str, on_unknown: OnUnknown, errors: str = "strict") -> bytes:
    """Return the UTF-8 of a text; DataError for half of a character, unless `errors` knows how, or it is replaced."""
    try:
        return text.encode("utf-8", errors)
    except UnicodeEncodeError as error:
        if on_unknown == "replace":
            return text.encode("utf-8", "replace")
        half = text[error.start]
        raise DataError(
            f"character {error.start} (counted from 0) is {half!r} (U+{ord(half):04X}), half of a character; "
            "leave it out"
        ) from None


def checked_ids(ids: Sequence[int] | Ids, vocab_size: int) -> NDArray[np.int64]:
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


def decoded(chunks: Iterable[bytes], start: int = 0) -> Iterator[str]:
    """Yield the characters of UTF-8 in chunks that are cut anywhere, newlines as they are.

    Raises EncodingError with the index of the first byte that is not UTF-8; `start` is the index of the first one here.
    """
    pending = b""  # the first bytes of a character that the next chunk completes
    try:
        for chunk in chunks:
            joined = pending + chunk if pending else chunk
            text, consumed = codecs.utf_8_decode(joined, "strict", False)
            pending, start = joined[consumed:], start + consumed
            yield text
        codecs.utf_8_decode(pending, "strict", True)
    except UnicodeDecodeError as error:
        raise EncodingError(f"not UTF-8 at byte {start + error.start} (counted from 0)") from None


class Utf8Stream:
    """A `TextStream` of tokens that are bytes: holds back the first bytes of a character until its last one is there.

    Bytes that are not UTF-8 become U+FFFD.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer, self._vocab_size = tokenizer, tokenizer.vocab_size
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, idx: int) -> str:
        if not 0 <= idx < self._vocab_size:
            checked_ids([idx], self._vocab_size)  # which says that it is out of range
        return self._decoder.decode(self._tokenizer.token_bytes(idx))

    def finish(self) -> str:
        return self._decoder.decode(b"", final=True)
