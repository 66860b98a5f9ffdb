"""The verdict at its borders, and the bigram yardstick against a table in plain Python."""

import math
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from model_helpers import token_ids

from gptmodel.evaluation import diagnosis
from gptmodel.evaluation.diagnosis import bigram_loss, diagnose

CASES = [
    # train, val, bigram, overfit_gap -> verdict
    (1.5, 1.6, 2.5, 0.1, "healthy"),
    (1.75, 2.0, 2.5, 0.125, "healthy"),  # a gap of just the share is within it
    (1.74, 2.0, 2.5, 0.125, "overfitting"),
    (0.1, 2.0, 2.5, 0.1, "overfitting"),
    (0.1, 5.0, 2.5, 0.1, "overfitting"),  # worse than pairs on val, but the train loss says it has learnt
    (2.5, 2.5, 2.5, 0.1, "underfitting"),  # no better than counting pairs
    (2.5, 9.9, 2.5, 0.1, "underfitting"),  # both are high: that comes first
    (2.49, 2.5, 2.5, 0.1, "healthy"),
    (2.5, 2.49, 2.5, 0.1, "healthy"),
    (4.0, 4.2, 2.5, 0.1, "underfitting"),
    (2.0, 1.5, 2.5, 0.1, "healthy"),  # val below train
    (0.0, 0.0, 0.0, 0.1, "underfitting"),  # nothing to learn
    (1e-9, 0.0, 2.5, 0.1, "healthy"),
]


@pytest.mark.parametrize(("train", "val", "bigram", "overfit_gap", "verdict"), CASES)
def test_the_verdict_at_its_borders(train: float, val: float, bigram: float, overfit_gap: float, verdict: str) -> None:
    diagnosis = diagnose(train, val, bigram, overfit_gap)
    assert diagnosis.verdict == verdict
    assert diagnosis.gap == val - train
    for number in (train, val, val - train):
        assert f"{number:.4f}" in diagnosis.explanation
    assert "\n" not in diagnosis.explanation


def test_the_explanation_says_what_to_do() -> None:
    assert "dropout" in diagnose(0.1, 2.0, 2.5, 0.1).explanation
    assert "capacity" in diagnose(3.0, 3.0, 2.5, 0.1).explanation
    assert "2.5000" in diagnose(3.0, 3.0, 2.5, 0.1).explanation
    assert "95.0% of val" in diagnose(0.1, 2.0, 2.5, 0.1).explanation


def bigram_by_hand(train: list[int], val: list[int], vocab_size: int) -> float:
    pairs, firsts = Counter(pairwise(train)), Counter(train[:-1])
    losses = [-math.log((pairs[a, b] + 1) / (firsts[a] + vocab_size)) for a, b in pairwise(val)]
    return sum(losses) / len(losses)


@pytest.mark.parametrize("chunk", [1, 2, 7, 100, 1 << 22])
@pytest.mark.parametrize(("train", "val"), [(300, 50), (2, 2), (3, 200), (50, 3)])
def test_the_bigram_loss_is_that_of_a_table(monkeypatch: pytest.MonkeyPatch, chunk: int, train: int, val: int) -> None:
    monkeypatch.setattr(diagnosis, "CHUNK_TOKENS", chunk)
    one, other = token_ids(train, seed=1), token_ids(val, seed=2)
    expected = bigram_by_hand(one.tolist(), other.tolist(), 11)
    assert bigram_loss(one, other, 11) == pytest.approx(expected, rel=1e-12)


def test_pairs_of_large_ids_do_not_overflow() -> None:
    ids = np.array([69_999, 69_998, 69_999, 69_998, 0], dtype=np.uint32)
    assert bigram_loss(ids, ids, 70_000) == pytest.approx(bigram_by_hand(ids.tolist(), ids.tolist(), 70_000), rel=1e-12)


def test_a_bigram_worked_by_hand() -> None:
    """Train a b a b a: "a" is followed by "b" twice of twice; with one added to each of 2 counts that is 3 of 4."""
    ids = np.array([0, 1, 0, 1, 0], dtype=np.uint8)
    assert bigram_loss(ids, ids[:2], 2) == pytest.approx(-math.log(3 / 4), rel=1e-12)
