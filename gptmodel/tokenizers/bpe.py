"""Byte pair encoding: one token for each byte, and one for each of the byte strings that occur most often.

As GPT-2 has it (Radford et al. 2019; Sennrich et al. 2016): on the bytes of UTF-8, so that any text can be encoded, and
within pieces of the text, which are a word with the blank before it, a number, punctuation, or white space. rustbpe
learns, tiktoken encodes; both are called when they are needed.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from gptmodel.errors import DataError
from gptmodel.tokenizers.base import Ids, OnUnknown, Tokenizer, Unit, Utf8Stream, checked_ids, decoded, utf8
from gptmodel.tokenizers.windows import WINDOW, windows

if TYPE_CHECKING:
    import tiktoken

PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
"""GPT-2's pieces of a text; no token goes from one into the next."""
LONGEST = 256
"""Bytes of a token: what repeats without an end would be one, and losses are told by passages as long as this."""
MOST = (1 << 16) - 256
"""Tokens beside the single bytes."""
WINDOWS_AT_ONCE = 8
"""Windows that rustbpe takes into memory; any number gives the same tokens."""


class BpeTokenizer(Tokenizer):
    """Maps single bytes to 0 ... 255 and then the learnt `tokens` in their order, the most frequent first.

    A piece of the text is first its bytes; then the two neighbours whose union is the earliest token become one, again
    and again. So any order of tokens encodes any text, and no two of them may be equal.
    """

    kind: ClassVar[str] = "bpe"
    unit: ClassVar[Unit] = "character"
    learns_from_train: ClassVar[bool] = True
    first: ClassVar[bytes] = bytes(range(256))
    """The single bytes, in the order of their ids."""
    special: ClassVar[tuple[bytes, ...]] = ()
    """Tokens behind all others, which no text is encoded to."""

    def __init__(self, tokens: Iterable[bytes]) -> None:
        self._ordinary = (*(bytes([byte]) for byte in self.first), *tokens)
        self._tokens = (*self._ordinary, *self.special)

    @classmethod
    def fit(cls, train: Iterable[bytes], val: Iterable[bytes], vocab_size: int | None) -> Self:  # noqa: ARG003
        """Return the tokenizer of the train split; fewer tokens than asked for, where it has no more pairs."""
        import rustbpe

        trainer = rustbpe.Tokenizer()
        texts = windows(decoded(train))
        trainer.train_from_iterator(texts, vocab_size, buffer_size=WINDOWS_AT_ONCE, pattern=PATTERN)
        learnt = [token for token, _ in trainer.get_mergeable_ranks()[256:]]
        return cls(token for token in learnt if len(token) <= LONGEST)

    @property
    def vocab_size(self) -> int:
        return len(self._tokens)

    def to_json(self) -> dict[str, Any]:
        """Return the tokens of several bytes as texts with a character for each byte, as in Latin-1."""
        return {"kind": self.kind, "tokens": [token.decode("latin-1") for token in self._ordinary[256:]]}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        texts = value.get("tokens")
        if set(value) != {"kind", "tokens"} or not isinstance(texts, list) or len(texts) > MOST:
            raise DataError(f"the fields of the {cls.kind} tokenizer are wrong")
        return cls(_checked(texts))

    def encode_array(self, text: str, on_unknown: OnUnknown = "error") -> Ids:
        text = utf8(text, on_unknown).decode()
        parts = (text[start : start + WINDOW] for start in range(0, len(text), WINDOW))
        return np.concatenate([np.empty(0, np.uint32), *self._encoded(parts)])

    def encode_stream(self, chunks: Iterable[bytes]) -> Iterator[Ids]:
        return self._encoded(decoded(chunks))

    def _encoded(self, texts: Iterable[str]) -> Iterator[Ids]:
        for window in windows(texts):
            yield self._encoding.encode_to_numpy(window, disallowed_special=())

    def decode(self, ids: Sequence[int] | Ids) -> str:
        numbers = checked_ids(ids, self.vocab_size).tolist()
        return b"".join(map(self._tokens.__getitem__, numbers)).decode(errors="replace")

    def stream(self) -> Utf8Stream:
        return Utf8Stream(self)

    def token_bytes(self, idx: int) -> bytes:
        return self._tokens[idx]

    def byte_lengths(self) -> NDArray[np.int64]:
        return np.array([len(token) for token in self._tokens], dtype=np.int64)

    @cached_property
    def _encoding(self) -> "tiktoken.Encoding":
        import tiktoken

        ranks = {token: idx for idx, token in enumerate(self._ordinary)}
        return tiktoken.Encoding(self.kind, pat_str=PATTERN, mergeable_ranks=ranks, special_tokens={})


def _checked(texts: Sequence[Any]) -> list[bytes]:
    """Return the tokens that `to_json` wrote; DataError unless each is made of two before it and none comes twice."""
    tokens = dict.fromkeys(bytes([byte]) for byte in range(256))
    for text in texts:
        is_bytes = isinstance(text, str) and len(text) <= LONGEST and max(text, default="") <= "\xff"
        token = text.encode("latin-1") if is_bytes else b""
        halves = ((token[:at], token[at:]) for at in range(1, len(token)))
        if token in tokens or not any(left in tokens and right in tokens for left, right in halves):
            raise DataError(f"its token {len(tokens)} comes twice, or is not made of two before it")
        tokens[token] = None
    return list(tokens)[256:]
