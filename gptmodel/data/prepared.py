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

TOKENIZER, TRAIN, VAL, TEST = "tokenizer.json", "train.bin", "val.bin", "test.bin"


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
    """Open the files of data/prepared but for the test split; DataError when one is missing, damaged or of others."""
    tokenizer = load_tokenizer(folder / TOKENIZER)
    train, val = (_open(folder, name, tokenizer) for name in (TRAIN, VAL))
    return PreparedData(folder, tokenizer, train, val)


def load_test(data: PreparedData) -> TokenFile:
    """Open the test split of prepared data; DataError when there is none, or it is not as it was made."""
    path = data.folder / TEST
    if not path.exists():
        raise DataError(f"{path}: there is no test split, as prepare.test_fraction was 0; set it, and prepare again")
    return _open(data.folder, TEST, data.tokenizer)


def _open(folder: Path, name: str, tokenizer: Tokenizer) -> TokenFile:
    tokens = open_tokens(folder / name)
    if tokens.tokenizer_digest != tokenizer.digest or tokens.vocab_size != tokenizer.vocab_size:
        raise DataError(f"{tokens.path}: was not made with {folder / TOKENIZER}; run `gptmodel prepare` again")
    return tokens


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
