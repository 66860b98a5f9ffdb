"""One token for each of the 256 bytes: any file can be trained on, and any text encoded."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from gptmodel.errors import DataError
from gptmodel.tokenizers.base import Ids, OnUnknown, Tokenizer, Unit, Utf8Stream, checked_ids, utf8


class ByteTokenizer(Tokenizer):
    """Maps the bytes of a text's UTF-8 to themselves; bytes that are not UTF-8 decode to U+FFFD."""

    kind: ClassVar[str] = "byte"
    unit: ClassVar[Unit] = "byte"
    learns_from_train: ClassVar[bool] = False
    vocab_size = 256

    @classmethod
    def fit(cls, train: Iterable[bytes], val: Iterable[bytes], vocab_size: int | None) -> Self:  # noqa: ARG003
        return cls()

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        if value != {"kind": cls.kind}:
            raise DataError("the fields of the byte tokenizer are wrong")
        return cls()

    def encode_array(self, text: str, on_unknown: OnUnknown = "error") -> Ids:
        # Python reads command lines that are not UTF-8 with surrogateescape; here that gives the bytes as typed.
        return np.frombuffer(utf8(text, on_unknown, "surrogateescape"), dtype=np.uint8)

    def encode_stream(self, chunks: Iterable[bytes]) -> Iterator[Ids]:
        return (np.frombuffer(chunk, dtype=np.uint8) for chunk in chunks)

    def decode(self, ids: Sequence[int] | Ids) -> str:
        return checked_ids(ids, self.vocab_size).astype(np.uint8).tobytes().decode("utf-8", errors="replace")

    def stream(self) -> Utf8Stream:
        return Utf8Stream(self)

    def token_bytes(self, idx: int) -> bytes:
        return bytes([idx])

    def byte_lengths(self) -> NDArray[np.int64]:
        return np.ones(self.vocab_size, dtype=np.int64)
