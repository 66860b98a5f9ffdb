"""One token for each distinct character of a text, as in Karpathy's tutorial: `stoi` and `itos`."""

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from gptmodel.errors import DataError
from gptmodel.tokenizers.base import Ids, OnUnknown, checked_ids, json_digest

ASCII = 128


class CharTokenizer:
    """Maps the sorted distinct characters of `characters` to 0 ... vocab_size - 1.

    An unknown character is an error, or is replaced by a space, or by the first character where space is unknown too.
    """

    kind: ClassVar[str] = "char"

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
    def from_saved(cls, characters: str, where: str) -> Self:
        """Build the tokenizer whose characters were saved; DataError, naming `where`, unless they are just as saved."""
        try:
            tokenizer = cls(characters)
        except DataError as error:
            raise DataError(f"{where}: {error}; run `gptmodel prepare` again") from None
        if tokenizer.characters != characters:
            raise DataError(f"{where}: the characters are not sorted and distinct; run `gptmodel prepare` again")
        return tokenizer

    @property
    def vocab_size(self) -> int:
        return len(self.characters)

    @cached_property
    def digest(self) -> str:
        return json_digest(self.to_json())

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "characters": self.characters}

    def encode(self, text: str, on_unknown: OnUnknown = "error") -> list[int]:
        ids: list[int] = self.encode_array(text, on_unknown).tolist()
        return ids

    def encode_array(self, text: str, on_unknown: OnUnknown = "error") -> Ids:
        if text.isascii():
            # Sorted characters put ASCII first: its ids are below 128, so 255 can mean unknown in a single byte.
            ids: Ids = np.frombuffer(text.encode("ascii").translate(self._ascii_table), dtype=np.uint8)
            unknown = 255
        else:
            points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
            ids = self._table.take(points, mode="clip")
            unknown = self.vocab_size
        if ids.size and int(ids.max()) == unknown:
            return self._mended(text, ids, unknown, on_unknown)
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        points: NDArray[np.uint32] = self._points[checked_ids(ids, self.vocab_size)]
        return points.tobytes().decode("utf-32-le")

    def stream(self) -> "_CharStream":
        return _CharStream(self)

    def byte_lengths(self) -> NDArray[np.int64]:
        return np.array([len(char.encode()) for char in self.characters], dtype=np.int64)

    def _mended(self, text: str, ids: Ids, unknown: int, on_unknown: OnUnknown) -> Ids:
        wrong = ids == unknown
        if on_unknown == "error":
            first = int(wrong.argmax())
            raise DataError(
                f"character {first} (counted from 0) is {text[first]!r} (U+{ord(text[first]):04X}), which is not among "
                f"the {self.vocab_size} characters of the tokenizer; leave it out, or set on_unknown to replace"
            )
        ids = ids.copy()
        ids[wrong] = self.stoi.get(" ", 0)
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
    def _ascii_table(self) -> bytes:
        """ASCII code point -> id, or 255 where unknown."""
        return bytes(self.stoi.get(chr(point), 255) if point < ASCII else 255 for point in range(256))


class _CharStream:
    """A token is a character: nothing is ever left over."""

    def __init__(self, tokenizer: CharTokenizer) -> None:
        self._tokenizer = tokenizer

    def push(self, idx: int) -> str:
        return self._tokenizer.decode([idx])

    def finish(self) -> str:
        return ""
