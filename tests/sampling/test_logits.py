"""From logits to probabilities, against a plain loop over the tokens."""

import math
from itertools import product

import pytest
import torch
from model_helpers import generator
from torch import Tensor

from gptmodel.sampling.logits import next_probabilities


def by_hand(logits: list[float], temperature: float, top_k: int, top_p: float) -> list[float]:
    """One row. Of equal logits the token of the smaller id counts as the likelier."""
    best = sorted(range(len(logits)), key=lambda token: (-logits[token], token))
    if temperature == 0.0:
        return [float(token == best[0]) for token in range(len(logits))]
    tokens = best[:top_k] if top_k else best
    weights = {token: math.exp((logits[token] - logits[best[0]]) / temperature) for token in tokens}
    total = sum(weights.values())
    nucleus: dict[int, float] = {}
    for token in tokens:
        if sum(nucleus.values()) >= top_p:
            break
        nucleus[token] = weights[token] / total
    total = sum(nucleus.values())
    return [nucleus.get(token, 0.0) / total for token in range(len(logits))]


ROWS = [
    [0.3, -1.0, 2.0, 0.9, 1.1, -0.4, 0.0],
    [1.0, 2.0, 2.0, 1.0, 2.0, 0.0, 1.0],  # ties
    [0.0] * 7,
    [50.0, -50.0, 0.0, 49.0, 1.0, 2.0, 3.0],
]


@pytest.mark.parametrize("temperature", [0.0, 0.1, 0.8, 1.0, 3.0])
def test_probabilities_are_those_of_a_plain_loop(temperature: float) -> None:
    logits = torch.tensor(ROWS, dtype=torch.float64)
    for top_k, top_p in product([0, 1, 2, 3, 6, 7, 8, 1000], [1e-9, 0.3, 0.55, 0.9, 0.999, 1.0]):
        probabilities = next_probabilities(logits, temperature=temperature, top_k=top_k, top_p=top_p)
        expected = torch.tensor([by_hand(row, temperature, top_k, top_p) for row in ROWS], dtype=torch.float64)
        assert torch.allclose(probabilities, expected, rtol=1e-9, atol=1e-12), (top_k, top_p, probabilities, expected)


def drawn(**settings: float) -> Tensor:
    logits = torch.randn(50, 40, generator=generator(0)) * 3
    return next_probabilities(logits, **({"temperature": 1.0} | settings))  # type: ignore[arg-type]


@pytest.mark.parametrize("top_k", [1, 5, 39])
def test_top_k_keeps_k_tokens_and_their_proportions(top_k: int) -> None:
    probabilities, plain = drawn(top_k=top_k), drawn()
    assert (probabilities > 0).sum(dim=1).tolist() == [top_k] * 50
    ratio = torch.where(probabilities > 0, probabilities / plain, torch.nan)
    torch.testing.assert_close(
        ratio.nanmean(dim=1, keepdim=True).expand_as(ratio)[probabilities > 0], ratio[probabilities > 0]
    )


@pytest.mark.parametrize("top_p", [1e-30, 1e-6, 0.5, 0.9])
def test_top_p_keeps_the_smallest_set_that_holds_it(top_p: float) -> None:
    probabilities, plain = drawn(top_p=top_p), drawn()
    for mask, row in zip(probabilities > 0, plain, strict=True):
        mass = row[mask].sum()
        assert mass >= top_p - 1e-6
        assert mass - row[mask].min() < top_p
        assert row[mask].min() >= (row[~mask].max() if (~mask).any() else 0)
    if top_p < 1e-3:
        assert ((probabilities > 0).sum(dim=1) == 1).all()
        assert torch.equal(probabilities.argmax(dim=1), plain.argmax(dim=1))


def test_top_p_counts_what_top_k_left() -> None:
    """Half, a quarter, a quarter: the two likeliest hold 3/4, of which the first is 2/3."""
    logits = torch.tensor([[0.5, 0.25, 0.25]]).log()
    probabilities = next_probabilities(logits, temperature=1.0, top_k=2, top_p=0.6)
    torch.testing.assert_close(probabilities, torch.tensor([[1.0, 0.0, 0.0]]))
    both = next_probabilities(logits, temperature=1.0, top_k=2, top_p=0.7)
    torch.testing.assert_close(both, torch.tensor([[2 / 3, 1 / 3, 0.0]]))


def test_a_set_that_holds_just_top_p_is_enough() -> None:
    probabilities = next_probabilities(torch.zeros(1, 4), temperature=1.0, top_p=0.5)
    assert probabilities.tolist() == [[0.5, 0.5, 0.0, 0.0]]


@pytest.mark.parametrize("temperature", [1e-300, 1e-45, 1e-38, 1e-5, 1e5, 1e38, 1e300])
def test_any_temperature_gives_probabilities(temperature: float) -> None:
    probabilities = drawn(temperature=temperature)
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(50))
    if temperature < 1.0:
        assert torch.equal(probabilities.argmax(dim=1), drawn().argmax(dim=1))
        assert (probabilities.max(dim=1).values > 0.99).all()
    else:
        torch.testing.assert_close(probabilities, torch.full_like(probabilities, 1 / 40), rtol=1e-3, atol=0)


def test_the_logits_are_left_as_they_were() -> None:
    logits = torch.randn(3, 9, generator=generator(0))
    before = logits.clone()
    next_probabilities(logits, temperature=0.5, top_k=3, top_p=0.5)
    assert torch.equal(logits, before)
