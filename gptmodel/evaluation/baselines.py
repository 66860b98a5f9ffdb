"""What predicting a text costs without a neural network, in bits per byte: the company a model is in. Pure functions.

Shapes: B passages, T tokens scored of each, V vocab.
"""

import bz2
import lzma
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from gptmodel.data.prepared import PreparedData, beginning, bits_per_byte, scored_bytes
from gptmodel.evaluation.counting import PairCounts
from gptmodel.evaluation.repetition import MOST_BYTES, PASSAGE_BYTES, repeated_share, sentence
from gptmodel.files import read_json
from gptmodel.kneser_ney import KneserNey, longest_order
from gptmodel.tokenizers.base import Ids

ORDER = 5
DIGITS = 4  # after the point: the last bits of a logarithm differ from machine to machine
DIGEST, REPEATED, FIRST_MB = "val_sha256", "val_repeated_in_train", "val_repeated_of_first_mb"
"""The keys of metrics/baselines.json that are no method: which val split it is of, how much of it train has, and of how
much text that was found, where it was not all of both splits."""
LARGEST_TEXT = 50_000_000
"""Tokens: xz and the counts of 5-grams would take minutes or gigabytes for more."""
CHUNK_TOKENS = 1 << 20
CHUNK_NUMBERS = 1 << 22  # in a table of whole distributions
XZ = [{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": 1 << 26}]
"""The default of xz, but with a window that the train split fits into."""


def measure(data: PreparedData) -> tuple[dict[str, float], dict[str, str]]:
    """Return the bits per byte of the val split by method, and for each method that is left out why.

    Guessing, single tokens, pairs and 5-grams are counted in the train split; a compressor is charged for what val adds
    to train. All score each token but the first, or each byte.
    """
    ids, vocab_size = data.val.ids, data.tokenizer.vocab_size
    size = scored_bytes(ids, data.tokenizer)
    counts = PairCounts(data.train.ids, vocab_size)
    nats = {
        "uniform": (len(ids) - 1) * math.log(vocab_size),
        "unigram": -sum(float(np.log(counts.unigram(chunk[1:])).sum()) for chunk in _chunks(ids)),
        "bigram": -sum(float(np.log(counts.bigram(chunk[:-1], chunk[1:])).sum()) for chunk in _chunks(ids)),
    }
    too_long = len(data.train.ids) + len(ids) > LARGEST_TEXT
    words = f"the text has more than {LARGEST_TEXT // 10**6} million tokens"
    left_out = dict.fromkeys(("kneser_ney_5", "bz2", "xz"), words) if too_long else {}
    if longest_order(vocab_size) < ORDER:
        left_out["kneser_ney_5"] = f"{ORDER}-grams of {vocab_size:,} tokens are too many to be told apart"
    if "kneser_ney_5" not in left_out:
        nats["kneser_ney_5"] = kneser_ney_nats(data.train.ids, ids, vocab_size)
    bits = {name: round(bits_per_byte(value, size), DIGITS) for name, value in nats.items()}
    if not too_long:
        train, val = (text_bytes(data, split) for split in (data.train.ids, ids))
        bits["bz2"] = added_bits(lambda text: len(bz2.compress(text)), train, val)
        bits["xz"] = added_bits(lambda text: len(lzma.compress(text, lzma.FORMAT_XZ, filters=XZ)), train, val)
    return bits, left_out


def repeated_in_train(data: PreparedData) -> dict[str, float]:
    """Return how much of the val split train has, as metrics/baselines.json holds it; nothing of too short a split."""
    splits = (data.train.ids, data.val.ids)
    firsts = [beginning(ids, data.tokenizer, MOST_BYTES) for ids in splits]  # all of a large text would fill the memory
    train, val = (text_bytes(data, ids) for ids in firsts)
    if len(val) < PASSAGE_BYTES:
        return {}
    share = round(repeated_share(train, val), DIGITS)
    is_all = all(len(first) == len(ids) for first, ids in zip(firsts, splits, strict=True))
    return {REPEATED: share} | ({} if is_all else {FIRST_MB: MOST_BYTES >> 20})


def line_on_repeated(values: Mapping[str, float]) -> str:
    """Return what a person should know of that."""
    return sentence(float(values[REPEATED]), values.get(FIRST_MB))


def kneser_ney_nats(train: NDArray[np.integer], val: NDArray[np.integer], vocab_size: int) -> float:
    """Return what n-grams of up to 5 tokens, counted in train, make of all tokens of val but the first."""
    counts = KneserNey.count(ORDER, vocab_size, 0.0, torch.from_numpy(train.astype(np.int64)))
    context, total = ORDER - 1, 0.0
    length = max(1, CHUNK_NUMBERS // vocab_size)
    for start in range(1, len(val), length):
        first = max(0, start - context)
        ids = torch.from_numpy(val[first : start + length].astype(np.int64))  # (at most context + T,)
        p = counts.probabilities(ids[None, :-1])[0]  # of each token but the first, (n - 1, V)
        chosen = p.gather(1, ids[1:, None])[start - first - 1 :, 0]  # (T,)
        total -= float(chosen.double().log().sum())
    return total


def added_bits(compressed: Callable[[bytes], int], train: bytes, val: bytes) -> float:
    """Return by how many bits a compressed text grows for each byte of val that follows train."""
    return round(8 * (compressed(train + val) - compressed(train)) / len(val), DIGITS)


def text_bytes(data: PreparedData, ids: Ids) -> bytes:
    """Return a split as bytes; of a tokenizer of bytes, which may know some that are no UTF-8, the ids themselves."""
    if data.tokenizer.unit == "byte" and data.tokenizer.vocab_size == 256:
        return ids.astype(np.uint8).tobytes()
    return data.tokenizer.decode(ids).encode()


def name_of(method: str) -> str:
    """Return what a person calls a method."""
    return f"{ORDER}-gram counts" if method == "kneser_ney_5" else method


def read_baselines(path: Path, val_sha256: str) -> dict[str, float]:
    """Return the bits per byte by method; none where there is no file, it is damaged or it is of another val split."""
    try:
        values = read_json(path)
        if values.get(DIGEST) != val_sha256:
            return {}
        return {name: float(value) for name, value in values.items() if name not in (DIGEST, REPEATED, FIRST_MB)}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def read_repeated(path: Path, val_sha256: str) -> list[str]:
    """Return the line on how much of the val split stands in the train split; none where it is not known."""
    try:
        values = read_json(path)
        return [line_on_repeated(values)] if values[DIGEST] == val_sha256 else []
    except (OSError, ValueError, TypeError, LookupError):
        return []


def standing(bits: Mapping[str, float], ours: float) -> list[str]:
    """Return one line on where a model of so many bits per byte stands; none without anything to compare it with."""
    others = [f"{name_of(name)} {bits[name]:.2f}" for name in ("xz", "kneser_ney_5") if name in bits]
    return [", ".join([*others, f"this model {ours:.2f} bits per byte"])] if others else []


def lines_on_val(path: Path, val_sha256: str, ours: float) -> list[str]:
    """Return what metrics/baselines.json says of the val split beside a model of so many bits per byte, in lines."""
    return [*standing(read_baselines(path, val_sha256), ours), *read_repeated(path, val_sha256)]


def _chunks(ids: NDArray[np.integer]) -> Iterator[NDArray[np.int64]]:
    """Yield the ids in parts that overlap by one."""
    for start in range(0, len(ids) - 1, CHUNK_TOKENS):
        yield ids[start : start + CHUNK_TOKENS + 1].astype(np.int64)
