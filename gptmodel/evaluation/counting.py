"""What a text costs when tokens and pairs of tokens are counted: the yardstick for a model. Pure functions.

Shapes: b passages, T tokens scored of each, n tokens, V vocab.
"""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

CHUNK_TOKENS = 1 << 22
WEIGHTS = np.linspace(0.0, 1.0, 11)
"""Shares of a mixture that are tried."""

Passages = Callable[[], Iterable[NDArray[np.int64]]]
"""Gives ids (b, T + 1), anew at each call: all but the first of each passage are scored."""


class PairCounts:
    """How often each token and each pair of tokens occurs in the ids (n,), and what that predicts.

    The part that is held back for what was not seen is that of Witten and Bell 1991, The Zero-Frequency Problem: as
    many occurrences as there are different tokens.
    """

    def __init__(self, ids: NDArray[np.integer], vocab_size: int) -> None:
        self.vocab_size = vocab_size
        self._tokens = _count_tokens(ids, vocab_size)  # (V,)
        self._pairs, self._times = _count_pairs(ids, vocab_size)
        first = self._pairs // vocab_size
        self._followers = np.bincount(first, minlength=vocab_size)  # (V,) different tokens after each
        self._firsts = np.bincount(first, self._times, vocab_size)  # (V,) pairs that begin with each

    def unigram(self, ids: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the probability of each of the ids by the counts of single tokens."""
        different = np.count_nonzero(self._tokens)
        chance: NDArray[np.float64] = (self._tokens[ids] + different / self.vocab_size) / (
            self._tokens.sum() + different
        )
        return chance

    def bigram(self, before: NDArray[np.int64], ids: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the probability of each of the ids after the token before it by the counts of pairs."""
        codes = before * self.vocab_size + ids
        index = np.minimum(np.searchsorted(self._pairs, codes), len(self._pairs) - 1)
        times = np.where(self._pairs[index] == codes, self._times[index], 0)
        followers, firsts = self._followers[before], self._firsts[before]
        chance: NDArray[np.float64] = (times + np.maximum(followers, 1) * self.unigram(ids)) / (
            firsts + np.maximum(followers, 1)
        )
        return chance


def counting_loss(counts: PairCounts, passages: Passages) -> float:
    """Return the least loss, in nats per token, that guessing and counting tokens and pairs of tokens give together.

    The shares of the three in a mixture are those that suit the passages best. So it is at most the loss of each of
    them alone, whatever the text and its vocabulary.
    """
    guess = 1 / counts.vocab_size
    weight, _ = _best_mixture((counts.unigram(rows[:, 1:]), guess) for rows in passages())

    def pairs() -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
        for rows in passages():
            single = weight * counts.unigram(rows[:, 1:]) + (1 - weight) * guess
            yield counts.bigram(rows[:, :-1], rows[:, 1:]), single

    return _best_mixture(pairs())[1]


def _best_mixture(chances: Iterable[tuple[NDArray[np.float64], NDArray[np.float64] | float]]) -> tuple[float, float]:
    """Return the weight of the first of two probabilities that makes the mean loss of a mixture least, and that loss.

    Neither is 0, so that no loss is infinite.
    """
    totals, count = np.zeros(len(WEIGHTS)), 0
    for one, other in chances:
        totals -= [float(np.log(weight * one + (1 - weight) * other).sum()) for weight in WEIGHTS]
        count += one.size
    best = int(totals.argmin())
    return float(WEIGHTS[best]), float(totals[best]) / count


def _count_tokens(ids: NDArray[np.integer], vocab_size: int) -> NDArray[np.int64]:
    counts = np.zeros(vocab_size, np.int64)
    for start in range(0, len(ids), CHUNK_TOKENS):
        counts += np.bincount(ids[start : start + CHUNK_TOKENS], minlength=vocab_size)
    return counts


def _count_pairs(ids: NDArray[np.integer], vocab_size: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the distinct pairs as numbers in base V, ascending, and how often each occurs."""
    pairs, counts = np.empty(0, np.int64), np.empty(0, np.int64)
    for start in range(0, len(ids) - 1, CHUNK_TOKENS):
        chunk = ids[start : start + CHUNK_TOKENS + 1].astype(np.int64)
        chunk_pairs, chunk_counts = np.unique(chunk[:-1] * vocab_size + chunk[1:], return_counts=True)
        pairs, index = np.unique(np.concatenate((pairs, chunk_pairs)), return_inverse=True)
        counts = np.bincount(index, weights=np.concatenate((counts, chunk_counts))).astype(np.int64)
    return pairs, counts
