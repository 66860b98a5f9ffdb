"""Counting against tables in plain Python, and what the yardstick promises whatever the text."""

import math
import random
from collections import Counter
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from model_helpers import token_ids

from gptmodel.evaluation import counting
from gptmodel.evaluation.counting import PairCounts, counting_loss


def whole(ids: np.ndarray) -> Callable[[], list[np.ndarray]]:
    """A text as the only passage."""
    return lambda: [ids[None, :].astype(np.int64)]


def unigram_by_hand(train: list[int], vocab_size: int) -> Callable[[int], float]:
    counts = Counter(train)
    return lambda token: (counts[token] + len(counts) / vocab_size) / (len(train) + len(counts))


def bigram_by_hand(train: list[int], vocab_size: int) -> Callable[[int, int], float]:
    pairs, firsts, unigram = Counter(pairwise(train)), Counter(train[:-1]), unigram_by_hand(train, vocab_size)
    followers = Counter(first for first, _ in pairs)

    def chance(first: int, second: int) -> float:
        if not firsts[first]:
            return unigram(second)
        return (pairs[first, second] + followers[first] * unigram(second)) / (firsts[first] + followers[first])

    return chance


@pytest.mark.parametrize("chunk", [1, 2, 7, 100, 1 << 22])
@pytest.mark.parametrize(("train", "val"), [(300, 50), (2, 2), (3, 200), (50, 3)])
def test_the_chances_are_those_of_tables(monkeypatch: pytest.MonkeyPatch, chunk: int, train: int, val: int) -> None:
    monkeypatch.setattr(counting, "CHUNK_TOKENS", chunk)
    one, other = token_ids(train, seed=1), token_ids(val, seed=2).astype(np.int64)
    counts = PairCounts(one, 11)
    unigram, bigram = unigram_by_hand(one.tolist(), 11), bigram_by_hand(one.tolist(), 11)
    np.testing.assert_allclose(counts.unigram(other), [unigram(token) for token in other.tolist()], rtol=1e-12)
    expected = [bigram(*pair) for pair in pairwise(other.tolist())]
    np.testing.assert_allclose(counts.bigram(other[:-1], other[1:]), expected, rtol=1e-12)


def test_the_chances_after_any_token_add_up_to_one() -> None:
    counts, tokens = PairCounts(token_ids(40, seed=3) % 7, 11), np.arange(11)
    assert counts.unigram(tokens).sum() == pytest.approx(1.0)
    for first in range(11):
        assert counts.bigram(np.full(11, first), tokens).sum() == pytest.approx(1.0)


def test_pairs_of_large_ids_do_not_overflow() -> None:
    ids = np.array([69_999, 69_998, 69_999, 69_998, 0], dtype=np.uint32)
    expected = bigram_by_hand(ids.tolist(), 70_000)(69_999, 69_998)
    assert PairCounts(ids, 70_000).bigram(np.array([69_999]), np.array([69_998]))[0] == pytest.approx(expected)


def test_a_bigram_worked_by_hand() -> None:
    """Train a b a b a: after "a" came "b", twice of twice; one of three is held back for what single tokens say.

    Those are 3 a and 2 b, and of two different ones: (2 + 1) / (5 + 2) for "b".
    """
    counts = PairCounts(np.array([0, 1, 0, 1, 0], dtype=np.uint8), 2)
    assert counts.bigram(np.array([0]), np.array([1]))[0] == pytest.approx((2 + 3 / 7) / 3, rel=1e-12)


def texts() -> dict[str, list[int]]:
    draw = random.Random(5)
    zipf = [1 / (rank + 1) for rank in range(350)]
    return {
        "many characters, few of each": draw.choices(range(350), zipf, k=4000),
        "no structure": draw.choices(range(10), k=4000),
        "pairs only": [0, 1, 2, 3] * 1000,
        "short": draw.choices(range(50), k=120),
        "tokens that are new in val": [0] * 900 + [1, 2] * 50,
    }


@pytest.mark.parametrize("name", texts())
def test_the_yardstick_is_no_worse_than_guessing_than_tokens_and_than_pairs(name: str) -> None:
    ids = np.array(texts()[name])
    train, val, vocab_size = ids[: len(ids) * 9 // 10], ids[len(ids) * 9 // 10 :], int(ids.max()) + 1
    counts = PairCounts(train, vocab_size)
    losses = [math.log(vocab_size)]
    losses.append(-float(np.log(counts.unigram(val[1:])).mean()))
    losses.append(-float(np.log(counts.bigram(val[:-1], val[1:])).mean()))
    assert counting_loss(counts, whole(val)) <= min(losses) + 1e-12


def test_it_is_that_of_pairs_where_these_decide_and_of_guessing_where_nothing_does() -> None:
    pairs, noise = np.array(texts()["pairs only"]), np.array(texts()["no structure"])
    assert counting_loss(PairCounts(pairs, 4), whole(pairs)) < 0.01
    assert counting_loss(PairCounts(noise[:3000], 10), whole(noise[3000:])) == pytest.approx(math.log(10), rel=0.01)


def test_it_is_the_loss_of_what_is_scored_alone() -> None:
    ids = token_ids(400, seed=4)
    counts = PairCounts(ids, 11)
    parts = [ids[None, :101].astype(np.int64), ids[None, 200:301].astype(np.int64)]
    joined = np.concatenate([part[:, 1:] for part in parts], axis=1)
    alone = counting_loss(counts, lambda: parts)
    assert alone != counting_loss(counts, whole(ids))
    assert joined.size == 200
    assert alone == pytest.approx(counting_loss(counts, lambda: [np.concatenate(parts)]), rel=1e-12)
