"""The verdict on two losses, by the tutorial's rule, and the yardstick it needs. Pure functions.

Train loss far below val loss is overfitting; both losses high is underfitting. "Far below" is a share of the val
loss; "high" is no better than a table that counts pairs of tokens (a bigram model), which has learnt nothing from
any but the last token.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

CHUNK_TOKENS = 1 << 22


@dataclass(frozen=True)
class Diagnosis:
    """A verdict in one word and the sentence that explains it."""

    verdict: str  # overfitting, underfitting or healthy
    gap: float  # val loss minus train loss, nats
    explanation: str


def diagnose(train_loss: float, val_loss: float, bigram_loss: float, overfit_gap: float) -> Diagnosis:
    """Judge a model by its losses in nats per token; `overfit_gap` is a share of the val loss."""
    gap = val_loss - train_loss
    share = gap / val_loss if val_loss else 0.0
    numbers = f"train {train_loss:.4f}, val {val_loss:.4f}, gap {gap:.4f} ({share:.1%} of val)"
    if train_loss >= bigram_loss and val_loss >= bigram_loss:
        return Diagnosis(
            "underfitting",
            gap,
            f"{numbers}: both losses are no better than counting pairs of tokens ({bigram_loss:.4f}); "
            "give the model more capacity or iterations, or another learning rate",
        )
    if share > overfit_gap:
        return Diagnosis(
            "overfitting",
            gap,
            f"{numbers}: the gap is more than {overfit_gap:.0%} of the val loss; "
            "use less capacity, more dropout or fewer iterations, or more text",
        )
    return Diagnosis(
        "healthy",
        gap,
        f"{numbers}: the gap is within {overfit_gap:.0%} of the val loss, "
        f"and counting pairs of tokens would give {bigram_loss:.4f}",
    )


def bigram_loss(train_data: np.ndarray, val_data: np.ndarray, vocab_size: int) -> float:
    """Return the val loss, in nats per token, of a bigram table counted on the train split, one added to each count."""
    pairs, counts = _count_pairs(train_data, vocab_size)
    first_counts = np.bincount(pairs // vocab_size, weights=counts, minlength=vocab_size)  # (V,)
    total = 0.0
    for codes in _pair_codes(val_data, vocab_size):
        index = np.minimum(np.searchsorted(pairs, codes), len(pairs) - 1)
        occurrences = np.where(pairs[index] == codes, counts[index], 0)
        total -= float(np.log((occurrences + 1) / (first_counts[codes // vocab_size] + vocab_size)).sum())
    return total / (len(val_data) - 1)


def _pair_codes(data: np.ndarray, vocab_size: int) -> Iterator[np.ndarray]:
    for start in range(0, len(data) - 1, CHUNK_TOKENS):
        chunk = data[start : start + CHUNK_TOKENS + 1].astype(np.int64)
        yield chunk[:-1] * vocab_size + chunk[1:]


def _count_pairs(data: np.ndarray, vocab_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct pair codes, sorted, and how often each occurs."""
    pairs, counts = np.empty(0, np.int64), np.empty(0, np.int64)
    for codes in _pair_codes(data, vocab_size):
        chunk_pairs, chunk_counts = np.unique(codes, return_counts=True)
        pairs, index = np.unique(np.concatenate((pairs, chunk_pairs)), return_inverse=True)
        counts = np.bincount(index, weights=np.concatenate((counts, chunk_counts))).astype(np.int64)
    return pairs, counts
