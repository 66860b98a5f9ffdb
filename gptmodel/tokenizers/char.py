"""One token for each distinct character of a text, as in Karpathy's tutorial: `stoi` and `itos`."""

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import chain
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from gptmodel.errors import DataError
from gptmodel.tokenizers.base import Ids, OnUnknown, Tokenizer, Unit, checked_ids, decoded
from gptmodel.tokenizers.characters import Characters, byte_pairs

ASCII = 128
UNKNOWN_ASCII = 255
"""Sorted characters put ASCII first: its ids are below 128, so in a single byte this can mean unknown."""


class CharTokenizer(Tokenizer):
    """Maps the sorted distinct characters of `characters` to 0 ... vocab_size - 1.

    An unknown character is an error, or is replaced by a space, or by the first character where space is unknown too.
    """

    kind: ClassVar[str] = "char"
    unit: ClassVar[Unit] = "character"
    learns_from_train: ClassVar[bool] = False

    def __init__(self, characters: Iterable[str]) -> None:
        self.characters = "".join(sorted(set(characters)))
        if not self.characters:
            raise DataError("a character tokenizer needs at least one character")
        surrogate = next((char for char in self.characters if "\ud800" <= char <= "\udfff"), None)
        if surrogate is not None:
            raise DataError(f"U+{ord(surrogate):04X} is half of a character, and no text in UTF-8 can hold it")
        self.stoi = {char: idx for idx, char in enumerate(self.characters)}
        self.itos = dict(enumerate(self.characters))

    @classmethod
    def fit(cls, train: Iterable[bytes], val: Iterable[bytes], vocab_size: int | None) -> Self:  # noqa: ARG003
        """Return the tokenizer of all characters of both splits, as in the tutorial."""
        characters = Characters()
        for text in decoded(chain(train, val)):
            characters.add(text)
        return cls(characters.sorted())

    @property
    def vocab_size(self) -> int:
        return len(self.characters)

    @property
    def unknown(self) -> int:
        """The id that stands for an unknown character where that is to be replaced."""
        return self.stoi.get(" ", 0)

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "characters": self.characters}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        characters = value.get("characters")
        if set(value) != {"kind", "characters"} or not isinstance(characters, str):
            raise DataError("the fields of the char tokenizer are wrong")
        tokenizer = cls(characters)
        if tokenizer.characters != characters:
            raise DataError("the characters are not sorted and distinct")
        return tokenizer

    def encode_stream(self, chunks: Iterable[bytes]) -> Iterator[Ids]:
        start = 0
        for text in decoded(chunks):
            yield self.encode_array(text, "error", start)
            start += len(text)

    def encode_array(self, text: str, on_unknown: OnUnknown = "error", start: int = 0) -> Ids:
        """Return the ids of a text, or of a part that begins at character `start` of it."""
        if text.isascii():
            ids: Ids = self._ids_of_pairs.take(byte_pairs(text)).view(np.uint8)[: len(text)]
            unknown = UNKNOWN_ASCII
        else:
            points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
            ids = self._table.take(points, mode="clip")
            unknown = self.vocab_size
        if ids.size and int(ids.max()) == unknown:
            return self._mended(text, ids, ids == unknown, on_unknown, start)
        return ids

    def decode(self, ids: Sequence[int] | Ids) -> str:
        points: NDArray[np.uint32] = self._points[checked_ids(ids, self.vocab_size)]
        return points.tobytes().decode("utf-32-le")

    def stream(self) -> "_CharStream":
        return _CharStream(self)

    def token_bytes(self, idx: int) -> bytes:
        return self.itos[idx].encode()

    def byte_lengths(self) -> NDArray[np.int64]:
        return np.array([len(char.encode()) for char in self.characters], dtype=np.int64)

    def _mended(self, text: str, ids: Ids, wrong: NDArray[np.bool_], on_unknown: OnUnknown, start: int) -> Ids:
        if on_unknown == "error":
            first = int(wrong.argmax())
            char = text[first]
            raise DataError(
                f"character {start + first} (counted from 0) is {char!r} (U+{ord(char):04X}), which is not among "
                f"the {self.vocab_size} characters of the tokenizer; leave it out"
            )
        ids = ids.copy()
        ids[wrong] = self.unknown
        return ids

    @cached_property
    def _points(self) -> NDArray[np.uint32]:
        return np.frombuffer(self.characters.encode("utf-32-le"), dtype="<u4")

    @cached_property
    def _table(self) -> Ids:
        """Code point -> id, or vocab_size where unknown; the last entry stands for all code points beyond."""
        table: Ids = np.full(int(self._points[-1]) + 2, self.vocab_size, dtype=np.min_scalar_type(self.vocab_size))
        table[self._points] = np.arange(self.vocab_size)
        return table

    @cached_property
    def _ids_of_pairs(self) -> NDArray[np.uint16]:
        """Two ASCII characters, as `byte_pairs` has them -> their two ids, UNKNOWN_ASCII where unknown."""
        ids = np.full(256, UNKNOWN_ASCII, dtype=np.uint16)
        ids[:ASCII] = [self.stoi.get(chr(point), UNKNOWN_ASCII) for point in range(ASCII)]
        return (ids[:, np.newaxis] << 8 | ids).ravel().astype("<u2")


class _CharStream:
    """A token is a character: nothing is ever left over."""

    def __init__(self, tokenizer: CharTokenizer) -> None:
        self._tokenizer = tokenizer

    def push(self, idx: int) -> str:
        return self._tokenizer.itos.get(idx) or self._tokenizer.decode([idx])  # which says that it is out of range

    def finish(self) -> str:
        return ""
