"""The loss of a split: every token once, equal to a computation in float64 that goes token by token."""

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from model_helpers import copied, equal_states, scramble, small_model, token_ids
from torch import Tensor, nn
from torch.nn import functional as F

from gptmodel.compute.crew import ALONE, Crew
from gptmodel.compute.place import Place
from gptmodel.data.prepared import bits_per_byte
from gptmodel.errors import DataError
from gptmodel.evaluation import loss as loss_module
from gptmodel.evaluation.loss import SplitLoss, at_once, estimate_loss, split_loss, tokens_at_once
from gptmodel.nn.transformer import TransformerModel

CPU = Place.on("cpu")
MODEL = scramble(small_model(block_size=8))


def per_token(logits: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(logits, targets, reduction="none")


def by_hand(model: TransformerModel, data: np.ndarray) -> list[float]:
    """The loss of each token but the first, in float64, one block after the other."""
    model = copy.deepcopy(model).double()
    losses = []
    for start in range(0, len(data) - 1, 8):
        block = data[start : start + 9].astype(int)
        scores = model(torch.tensor(block[:-1])[None])[0].detach().numpy()
        for row, target in zip(scores, block[1:], strict=True):
            losses.append(float(np.log(np.exp(row - row.max()).sum()) + row.max() - row[target]))
    return losses


@pytest.mark.parametrize("n", [2, 3, 8, 9, 10, 16, 17, 100, 129])
def test_every_token_but_the_first_is_scored_once(n: int) -> None:
    data = token_ids(n)
    split = split_loss(MODEL, data, per_token, CPU)
    assert split.tokens == n - 1
    expected = by_hand(MODEL, data)
    assert split.total == pytest.approx(sum(expected), rel=1e-6)
    assert split.mean == pytest.approx(np.mean(expected), rel=1e-6)
    positions = [np.mean(expected[position::8]) for position in range(min(8, n - 1))]
    assert split.by_position() == pytest.approx(positions, rel=1e-5)
    assert split.counts.tolist() == [len(expected[position::8]) for position in range(8)]


@pytest.mark.parametrize("at_once", [1, 8, 16, 24, 40, 64, 100_000])
def test_the_loss_does_not_depend_on_how_many_tokens_are_scored_at_once(
    monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    data = token_ids(150)
    expected = sum(by_hand(MODEL, data))
    batch_sizes: list[int] = []
    monkeypatch.setattr(loss_module, "TOKENS_AT_ONCE", at_once)
    for loss_fn in (per_token, nn.CrossEntropyLoss()):
        split = split_loss(MODEL, data, loss_fn, CPU)
        assert split.tokens == 149
        assert split.total == pytest.approx(expected, rel=1e-6)
    handle = MODEL.register_forward_hook(lambda _module, args, _out: batch_sizes.append(args[0].numel()))
    split_loss(MODEL, data, per_token, CPU)
    handle.remove()
    assert max(batch_sizes) <= max(at_once, 8)
    assert sum(batch_sizes) == 149


def scored(n: int, max_blocks: int | None, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """The first target of each block that is scored; each id is its own position."""
    monkeypatch.setattr(loss_module, "TOKENS_AT_ONCE", 64)
    targets: list[int] = []

    def spy(logits: Tensor, block_targets: Tensor) -> Tensor:
        targets.extend(block_targets.tolist())
        return torch.zeros(len(block_targets))

    class Positions(nn.Module):
        params, vocab_size = small_model().params, 1

        def forward(self, idx: Tensor) -> Tensor:
            return torch.zeros(*idx.shape, 1)

    split = split_loss(Positions(), np.arange(n, dtype=np.uint16), spy, CPU, max_blocks=max_blocks)
    assert split.tokens == len(targets) == len(set(targets))
    return np.array(targets)


@pytest.mark.parametrize("max_blocks", [1, 5, 8, 9, 20, 99])
def test_max_blocks_bounds_the_blocks_and_spreads_them(max_blocks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 100 blocks; 8 are scored at once, so that numbers on both sides of that are tried."""
    targets = scored(805, max_blocks, monkeypatch)
    assert len(targets) == max_blocks * 8
    starts = targets[::8] - 1
    assert (np.diff(targets.reshape(-1, 8)) == 1).all()
    assert abs(starts.mean() - 400) < 8
    assert (np.diff(starts) >= 8 * (100 // max_blocks)).all()


@pytest.mark.parametrize("max_blocks", [100, 101, 10_000, None])
def test_a_bound_above_the_split_is_no_bound(max_blocks: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert scored(805, max_blocks, monkeypatch).tolist() == list(range(1, 805))


def test_estimate_loss_is_the_tutorials() -> None:
    train, val = token_ids(200, seed=1), token_ids(70, seed=2)
    losses = estimate_loss(MODEL, train, val, nn.CrossEntropyLoss(), "cpu")
    assert losses == pytest.approx({"train": np.mean(by_hand(MODEL, train)), "val": np.mean(by_hand(MODEL, val))})
    assert list(losses) == ["train", "val"]
    assert losses == pytest.approx(estimate_loss(MODEL, train, val, per_token, torch.device("cpu")), rel=1e-6)
    bounded = estimate_loss(MODEL, train, val, per_token, "cpu", max_blocks=3)
    assert bounded["train"] == split_loss(MODEL, train, per_token, CPU, max_blocks=3).mean != losses["train"]


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_as_it_was(training: bool) -> None:
    model = scramble(small_model(dropout=0.5)).train(training)
    before, state = copied(model.state_dict()), torch.get_rng_state()
    first = split_loss(model, token_ids(100), per_token, CPU)
    again = split_loss(model, token_ids(100), per_token, CPU)
    assert first.total == again.total  # no dropout
    assert model.training is training
    assert all(module.training is training for module in model.modules())
    assert equal_states(model.state_dict(), before)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(torch.get_rng_state(), state)


def test_the_mode_comes_back_after_an_error() -> None:
    def broken(_logits: Tensor, _targets: Tensor) -> Tensor:
        raise RuntimeError("on purpose")

    model = small_model().train()
    with pytest.raises(RuntimeError, match="on purpose"):
        split_loss(model, token_ids(100), broken, CPU)
    assert model.training


def test_a_large_vocabulary_takes_fewer_tokens_at_once_and_the_small_ones_as_many_as_ever() -> None:
    assert [tokens_at_once(size) for size in (1, 78, 256, 1024)] == [4096] * 4
    assert [tokens_at_once(size) for size in (4096, 16_384, 50_257, 65_536)] == [1024, 256, 83, 64]
    assert [at_once(32, size) for size in (256, 4096, 65_536)] == [128, 32, 2]
    assert at_once(1024, 50_257) == 1
    model, sizes = scramble(small_model(vocab_size=50_257)), list[int]()
    model.register_forward_hook(lambda _module, args, _out: sizes.append(args[0].numel()))
    split = split_loss(model, token_ids(500).astype(np.uint16) * 200, per_token, CPU)
    assert (split.tokens, max(sizes)) == (499, 80)


@pytest.mark.parametrize("n", [0, 1])
def test_a_split_without_a_target_is_an_error(n: int) -> None:
    with pytest.raises(DataError, match="at least 2"):
        split_loss(MODEL, token_ids(5)[:n], per_token, CPU)


def test_sums_are_exact_where_float32_would_not_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten thousand tokens of 0.1 nats, 8 at a time: sums in float32 would be off in the fifth digit."""
    monkeypatch.setattr(loss_module, "TOKENS_AT_ONCE", 8)

    class Zeros(nn.Module):
        params, vocab_size = small_model().params, 1

        def forward(self, idx: Tensor) -> Tensor:
            return torch.zeros(*idx.shape, 1)

    def tenth(_logits: Tensor, targets: Tensor) -> Tensor:
        return torch.full((len(targets),), 0.1)

    split = split_loss(Zeros(), np.zeros(10_001, dtype=np.uint8), tenth, CPU)
    assert split.total == pytest.approx(10_000 * float(np.float32(0.1)), rel=1e-12)


def test_bits_per_byte_worked_by_hand() -> None:
    """8 tokens at 1 bit each over 4 bytes of text: 2 bits per byte."""
    assert bits_per_byte(8 * math.log(2), 4) == pytest.approx(2.0, rel=1e-15)


def test_a_split_loss_adds_up() -> None:
    split = SplitLoss(np.array([6.0, 2.0, 0.0]), np.array([3, 2, 0]))
    assert (split.tokens, split.total, split.mean) == (5, 8.0, 1.6)
    assert split.by_position().tolist() == [2.0, 1.0]


@pytest.mark.parametrize("size", [2, 5])
def test_the_number_of_threads_changes_no_bit(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gptmodel.evaluation.loss.TOKENS_AT_ONCE", 2 * MODEL.params.block_size)
    data = token_ids(20 * MODEL.params.block_size + 4)
    alone, shared = (split_loss(MODEL, data, per_token, replace(CPU, crew=crew)) for crew in (ALONE, Crew(size)))
    assert np.array_equal(alone.totals, shared.totals)
    assert np.array_equal(alone.counts, shared.counts)
    assert shared.tokens == len(data) - 1
