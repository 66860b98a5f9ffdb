"""What prepare makes, as the later stages read it: a tokenizer and the token ids of both splits."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gptmodel.data.tokens import TokenFile, open_tokens
from gptmodel.errors import DataError
from gptmodel.files import digest
from gptmodel.tokenizers.base import Tokenizer
from gptmodel.tokenizers.kinds import load_tokenizer

TOKENIZER, TRAIN, VAL = "tokenizer.json", "train.bin", "val.bin"


@dataclass(frozen=True)
class PreparedData:
    """Both splits and the tokenizer they were made with."""

    folder: Path
    tokenizer: Tokenizer
    train: TokenFile
    val: TokenFile

    def digests(self, algorithm: str = "sha256") -> dict[str, str]:
        """Return the digest of each file, by name: read again at each call, so that a change shows."""
        return {name: digest(self.folder / name, algorithm) for name in (TOKENIZER, TRAIN, VAL)}


def load_prepared(folder: Path) -> PreparedData:
    """Open the files of data/prepared; DataError when one is missing, damaged or does not belong to the others."""
    tokenizer = load_tokenizer(folder / TOKENIZER)
    train, val = open_tokens(folder / TRAIN), open_tokens(folder / VAL)
    for tokens in (train, val):
        if tokens.tokenizer_digest != tokenizer.digest or tokens.vocab_size != tokenizer.vocab_size:
            raise DataError(f"{tokens.path}: was not made with {folder / TOKENIZER}; run `gptmodel prepare` again")
    return PreparedData(folder, tokenizer, train, val)


def scored_bytes(ids: np.ndarray, tokenizer: Tokenizer) -> int:
    """Return the UTF-8 bytes of all tokens but the first, which is never scored."""
    lengths, total = tokenizer.byte_lengths(), 0
    for start in range(1, len(ids), 1 << 22):
        counts = np.bincount(ids[start : start + (1 << 22)], minlength=len(lengths))  # (V,)
        total += int(counts @ lengths)
    return total


def beginning(ids: np.ndarray, tokenizer: Tokenizer, most_bytes: int) -> np.ndarray:
    """Return as many of the first ids as make at most that many bytes of text."""
    first = ids[:most_bytes]  # a token is a byte at least
    return first[: int(np.searchsorted(np.cumsum(tokenizer.byte_lengths()[first]), most_bytes, side="right"))]


def bits_per_byte(total_nats: float, total_bytes: int) -> float:
    """Return the code length in bits per byte of text, which compares models of different tokenizers."""
    return total_nats / math.log(2) / total_bytes
