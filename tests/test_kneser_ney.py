"""Counting against a second, slow implementation in plain Python, and what may be loaded as counts."""

import math
from collections import Counter, defaultdict
from itertools import pairwise

import numpy as np
import pytest
import torch
from model_helpers import VOCAB, batch, language_model, scramble, small_model, token_ids

from gptmodel import kneser_ney
from gptmodel.kneser_ney import KneserNey, longest_order

NONE = torch.empty(0, dtype=torch.int64)
START = -1  # stands before the first token


class Slow:
    """Interpolated Kneser-Ney by the recursion of Chen and Goodman 1999, one token at a time."""

    def __init__(self, order: int, vocab_size: int, ids: list[int]) -> None:
        self.order, self.vocab_size = order, vocab_size
        padded = [START] * (order - 1) + ids
        longest = Counter(tuple(padded[at : at + order]) for at in range(len(ids)))
        self.counts = {order: longest}
        for length in range(order - 1, 0, -1):
            self.counts[length] = Counter(gram[1:] for gram in self.counts[length + 1])
        self.by_context = {length: defaultdict(dict) for length in self.counts}  # type: ignore[var-annotated]
        for length, grams in self.counts.items():
            for gram, times in grams.items():
                self.by_context[length][gram[:-1]][gram[-1]] = times

    def discount(self, length: int, times: int) -> float:
        of = Counter(self.counts[length].values())
        once, twice, thrice, four = (max(1, of[n]) for n in (1, 2, 3, 4))
        part = once / (once + 2 * twice)
        discounts = (1 - 2 * part * twice / once, 2 - 3 * part * thrice / twice, 3 - 4 * part * four / thrice)
        discount = discounts[min(times, 3) - 1]
        return min(discount, times, 3) if discount > 0.0 else (0.5, 1.0, 1.5)[min(times, 3) - 1]

    def probability(self, context: list[int], token: int) -> float:
        context = context[-(self.order - 1) :] if self.order > 1 else []
        shorter = self.probability(context[1:], token) if context else 1.0 / self.vocab_size
        after = self.by_context[len(context) + 1].get(tuple(context))
        if after is None:
            return shorter
        held_back = {successor: self.discount(len(context) + 1, times) for successor, times in after.items()}
        own = after.get(token, 0) - held_back.get(token, 0.0)
        return (own + sum(held_back.values()) * shorter) / sum(after.values())


@pytest.mark.parametrize("dense", [0, 1 << 21], ids=["sparse", "dense"])
@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_probabilities_are_those_of_the_recursion(order: int, dense: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kneser_ney, "DENSE", dense)
    ids = token_ids(500)
    counted = KneserNey.count(order, VOCAB, 0.5, torch.from_numpy(ids))
    slow = [Slow(longest, VOCAB, ids.tolist()) for longest in range(1, order + 1)]
    assert [level.longest.dense is not None for level in counted._levels] == [dense > 0] * order
    idx = torch.from_numpy(np.stack([ids[:9], ids[77:86], batch(1, 9)[0].numpy()]).astype(np.int64))  # (3, 9)
    p = counted.probabilities(idx)
    for row, row_probabilities in zip(idx.tolist(), p, strict=True):
        for t in range(9):
            longest = slow[min(order, t + 2) - 1]  # with t + 1 ids of context n-grams can have t + 2 at most
            expected = [longest.probability(row[: t + 1], token) for token in range(VOCAB)]
            np.testing.assert_allclose(row_probabilities[t], expected, rtol=1e-5)
    torch.testing.assert_close(p.sum(-1), torch.ones(3, 9), rtol=0, atol=1e-5)
    assert bool((p > 0).all())


def test_no_token_is_impossible_in_a_text_that_stands_there_four_times() -> None:
    """Its n-grams occur four times, and hardly one three times: by the equation nothing would be held back."""
    ids = np.tile(token_ids(40), 4)
    counted, slow = KneserNey.count(2, VOCAB, 0.5, torch.from_numpy(ids)), Slow(2, VOCAB, ids.tolist())
    p = counted.probabilities(torch.arange(VOCAB)[:, None])[:, 0]  # (V, V)
    assert bool((p > 0).all())
    expected = [[slow.probability([before], token) for token in range(VOCAB)] for before in range(VOCAB)]
    np.testing.assert_allclose(p, expected, rtol=1e-5)


def test_a_longer_order_tells_more_of_a_text_that_repeats() -> None:
    ids = token_ids(3000)
    losses = []
    for order in (1, 2, 3):
        counted = KneserNey.count(order, VOCAB, 0.5, torch.from_numpy(ids[:2500]))
        idx = torch.from_numpy(ids[2500:].astype(np.int64))
        p = counted.probabilities(idx[None, :-1])[0]  # (T, V)
        losses.append(-p[torch.arange(len(p)), idx[1:]].log().mean().item())
    assert losses[0] > losses[1] + 0.3
    assert losses[2] < losses[0]


def test_a_position_depends_on_the_last_ids_up_to_its_own_and_on_no_other() -> None:
    counted = KneserNey.count(4, VOCAB, 0.5, torch.from_numpy(np.tile(token_ids(60), 3)))
    idx = torch.from_numpy(token_ids(60)[None, 10:20].astype(np.int64))
    p = counted.probabilities(idx)
    for at in range(10):
        changed = idx.clone()
        changed[0, at] = (idx[0, at] + 1) % VOCAB
        same = (counted.probabilities(changed) == p).all(-1)[0].tolist()  # (T,)
        assert same == [t < at or t > at + 2 for t in range(10)], at


def test_without_counts_every_token_is_as_likely() -> None:
    without = KneserNey(3, 5, 0.5, NONE, NONE)
    assert torch.equal(without.probabilities(batch(2, 4, vocab_size=5)), torch.full((2, 4, 5), 0.2))


def test_a_text_of_one_token_and_one_of_two_are_counted() -> None:
    for ids in ([3], [3, 3], [3, 4]):
        counted = KneserNey.count(5, VOCAB, 0.5, torch.tensor(ids))
        p = counted.probabilities(torch.tensor([[3, 3, 3]]))
        assert bool(p.isfinite().all())
        torch.testing.assert_close(p.sum(-1), torch.ones(1, 3))


def test_the_model_predicts_the_stated_mixture_and_the_transformer_is_the_transformer_always() -> None:
    mixed = language_model(scramble(small_model(kneser_ney=3, kneser_ney_share=0.25)))
    alone = scramble(small_model())
    assert mixed.counts is not None
    idx = batch()
    for training in (True, False):
        assert torch.equal(mixed.transformer.train(training)(idx), alone(idx))
        expected = 0.75 * alone(idx).softmax(-1) + 0.25 * mixed.counts.probabilities(idx)
        torch.testing.assert_close(mixed.predict(idx).softmax(-1), expected, rtol=1e-5, atol=1e-8)


def test_a_share_far_from_the_neural_prediction_stays_finite() -> None:
    logits = torch.tensor([[-300.0, 0.0], [0.0, 300.0]])
    p = torch.tensor([[1e-9, 1.0], [1.0, 1e-30]])
    expected = torch.tensor([[math.log(0.3e-9), 0.0], [math.log(0.3), math.log(0.7)]])
    counts = KneserNey(1, 2, 0.3, NONE, NONE)
    torch.testing.assert_close(counts.mixed(logits, p), expected, rtol=1e-5, atol=1e-5)


def test_counts_made_again_of_their_n_grams_are_the_same() -> None:
    counted = KneserNey.count(3, VOCAB, 0.25, torch.from_numpy(token_ids(300)))
    again = KneserNey(3, VOCAB, 0.25, counted.grams.clone(), counted.counts.clone())
    assert torch.equal(again.probabilities(batch()), counted.probabilities(batch()))
    grams = counted.grams.tolist()
    assert all(one < two for one, two in pairwise(grams))
    assert int(counted.counts.sum()) == 300


@pytest.mark.parametrize(
    ("grams", "counts"),
    [
        ([5, 4], [1, 1]),
        ([4, 4], [1, 1]),
        ([-1, 4], [1, 1]),
        ([4, 12**3], [1, 1]),
        ([4, 11], [1, 1]),  # ends in what stands before the first token
        ([4, 5], [1, 0]),
        ([4, 5], [1, 1 << 53]),
        ([4, 5], [1]),
        ([4], [1, 1]),
        ([], [1]),
        ([4], []),
    ],
    ids=str,
)
def test_what_cannot_have_been_counted_is_not_loaded(grams: list[int], counts: list[int]) -> None:
    entries = (torch.tensor(entry, dtype=torch.int64) for entry in (grams, counts))
    with pytest.raises(ValueError, match="n-grams"):
        KneserNey(3, VOCAB, 0.5, *entries)


@pytest.mark.parametrize(("vocab_size", "longest"), [(1, 62), (65, 10), (256, 7), (50257, 4)])
def test_an_order_too_long_for_the_vocabulary_is_refused(vocab_size: int, longest: int) -> None:
    assert longest_order(vocab_size) == longest
    assert KneserNey(longest, vocab_size, 0.5, NONE, NONE).probabilities(
        torch.zeros(1, 1, dtype=torch.int64)
    ).shape == (1, 1, vocab_size)
    with pytest.raises(ValueError, match=f"{longest + 1} are too long for a vocabulary of {vocab_size}"):
        KneserNey(longest + 1, vocab_size, 0.5, NONE, NONE)
