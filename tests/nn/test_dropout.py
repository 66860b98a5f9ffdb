"""Dropout: how many numbers it drops, whose random numbers it takes, and that it is off outside of training."""

import math
import threading

import pytest
import torch
from model_helpers import generator
from torch import Tensor

from gptmodel.nn.dropout import Dropout, dropping_by, kept

ONES = torch.ones(1000, 101)  # not a multiple of the four numbers that share random bits


@pytest.mark.parametrize("p", [0.001, 0.1, 0.5, 0.9])
def test_a_share_p_is_dropped_and_the_rest_grows_to_make_up(p: float) -> None:
    with dropping_by(generator(1)):
        out = Dropout(p)(ONES)
    dropped = (out == 0).double()
    tolerance = 5 * math.sqrt(p * (1 - p) / ONES.numel())
    assert dropped.mean().item() == pytest.approx(p, abs=tolerance)
    for quarter in range(4):  # each of the numbers that share 64 bits
        share = dropped.flatten()[quarter::4].mean().item()
        assert share == pytest.approx(p, abs=2 * tolerance)
    assert out.max().item() == pytest.approx(1 / (1 - p), rel=1e-3)
    assert out.unique().numel() == 2


def test_nearly_1_leaves_one_step_of_the_random_bits() -> None:
    with dropping_by(generator(1)):
        factors = kept(ONES, (1 << 20,), 1 - 1e-9)
    assert set(factors.unique().tolist()) == {0.0, 2.0**16}


def test_neighbours_are_dropped_independently() -> None:
    with dropping_by(generator(1)):
        dropped = (kept(ONES, ONES.shape, 0.5) == 0).double().flatten()
    for distance in (1, 2, 3, 4, 101):
        both = (dropped[:-distance] * dropped[distance:]).mean().item()
        assert both == pytest.approx(0.25, abs=5 * math.sqrt(0.25 * 0.75 / ONES.numel()))


def test_gradients_go_through_what_was_kept() -> None:
    x = torch.randn(50, 7, generator=generator(2)).requires_grad_()
    with dropping_by(generator(1)):
        out = Dropout(0.25)(x)
    (grad,) = torch.autograd.grad(out.sum(), x)
    torch.testing.assert_close(grad * x, out)


def test_it_is_off_outside_of_training_and_at_0() -> None:
    assert Dropout(0.0)(ONES) is ONES
    assert Dropout(0.5).eval()(ONES) is ONES


def test_each_thread_draws_from_the_generator_it_was_given() -> None:
    def mask(seed: int) -> Tensor:
        with dropping_by(generator(seed)):
            return kept(ONES, ONES.shape, 0.5)

    alone = {seed: mask(seed) for seed in (1, 2)}
    inside, masks = threading.Barrier(2, timeout=10), {}

    def work(seed: int) -> None:
        with dropping_by(generator(seed)):
            inside.wait()  # both have said whose numbers they take
            masks[seed] = kept(ONES, ONES.shape, 0.5)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(masks[seed], alone[seed]) for seed in (1, 2))
    assert not torch.equal(alone[1], alone[2])
