"""One token for each of the 256 bytes: any file can be trained on, and any text encoded."""

import codecs
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from gptmodel.errors import DataError
from gptmodel.tokenizers.base import Ids, OnUnknown, Unit, checked_ids, json_digest


class ByteTokenizer:
    """Maps the bytes of a text's UTF-8 to themselves; bytes that are not UTF-8 decode to U+FFFD."""

    kind: ClassVar[str] = "byte"
    unit: ClassVar[Unit] = "byte"
    vocab_size = 256

    @classmethod
    def fit(cls, train: Iterable[bytes], val: Iterable[bytes]) -> Self:  # noqa: ARG003
        return cls()

    @cached_property
    def digest(self) -> str:
        return json_digest(self.to_json())

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        if value != {"kind": cls.kind}:
            raise DataError("the fields of the byte tokenizer are wrong")
        return cls()

    def encode(self, text: str, on_unknown: OnUnknown = "error") -> list[int]:
        return list(_utf8(text, on_unknown))

    def encode_array(self, text: str, on_unknown: OnUnknown = "error") -> Ids:
        return np.frombuffer(_utf8(text, on_unknown), dtype=np.uint8)

    def encode_stream(self, chunks: Iterable[bytes]) -> Iterator[Ids]:
        return (np.frombuffer(chunk, dtype=np.uint8) for chunk in chunks)

    def decode(self, ids: Sequence[int] | Ids) -> str:
        return checked_ids(ids, self.vocab_size).astype(np.uint8).tobytes().decode("utf-8", errors="replace")

    def stream(self) -> "_ByteStream":
        return _ByteStream()

    def token_bytes(self, idx: int) -> bytes:
        return bytes([idx])

    def byte_lengths(self) -> NDArray[np.int64]:
        return np.ones(self.vocab_size, dtype=np.int64)


def _utf8(text: str, on_unknown: OnUnknown) -> bytes:
    try:
        # Python reads command lines that are not UTF-8 with surrogateescape; here that gives the bytes as typed.
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        if on_unknown == "replace":
            return text.encode("utf-8", "replace")
        point = ord(text[error.start])
        raise DataError(
            f"character {error.start} (counted from 0) is {text[error.start]!r} (U+{point:04X}), half of a character; "
            "leave it out"
        ) from None


class _ByteStream:
    """Holds back the first bytes of a character until its last one is there."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, idx: int) -> str:
        if not 0 <= idx < ByteTokenizer.vocab_size:
            checked_ids([idx], ByteTokenizer.vocab_size)  # which says that it is out of range
        return self._decoder.decode(bytes([idx]))

    def finish(self) -> str:
        return self._decoder.decode(b"", final=True)
