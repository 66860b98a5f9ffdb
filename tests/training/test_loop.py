"""The loop: when it evaluates, what it trains on, and that watching it changes nothing."""

from itertools import combinations
from typing import Any

import pytest
import torch
from model_helpers import copied, equal_states, small_model, train_params
from torch.nn import functional as F
from training_helpers import (
    CPU,
    TRAIN_DATA,
    VAL_DATA,
    Run,
    Watcher,
    new_state,
    plain_run,
    rows_without_time,
    trained,
    varied,
)

from gptmodel.data.batches import training_batch
from gptmodel.evaluation.loss import split_loss
from gptmodel.optim.factory import build_optimizer, learning_rate_at
from gptmodel.training import loop
from gptmodel.training.loop import fit
from gptmodel.training.step import Update, training_step


@pytest.mark.parametrize(
    ("max_iters", "eval_interval", "expected"),
    [(6, 3, [0, 3, 6]), (7, 3, [0, 3, 6, 7]), (2, 100, [0, 2]), (3, 1, [0, 1, 2, 3])],
)
def test_evaluations_come_at_0_every_eval_interval_and_at_the_end(
    max_iters: int, eval_interval: int, expected: list[int]
) -> None:
    sections = {"train": {"max_iters": max_iters, "eval_interval": eval_interval}}
    watcher, state = Watcher(), new_state(**sections)
    assert fit(state, *varied(plain_run(**sections), observer=watcher)) is True
    assert [row.iteration for row in watcher.rows] == expected
    assert state.history == watcher.rows
    assert [iteration for iteration, _ in watcher.losses] == list(range(1, max_iters + 1))
    assert [row.tokens for row in watcher.rows] == [iteration * 3 * 8 for iteration in expected]
    seconds = [row.seconds for row in watcher.rows]
    assert seconds == sorted(seconds)
    assert state.seconds >= seconds[-1]


def test_each_iteration_trains_on_its_batch_at_its_learning_rate() -> None:
    settings = {"lr_schedule": "linear", "warmup_iters": 2, "grad_clip": 0.5}
    state = trained(train=settings)
    params = train_params(**settings)
    model = small_model()
    optimizer = build_optimizer(model, params)
    losses = []
    for t in range(params.max_iters):
        idx, targets = training_batch(TRAIN_DATA, params.seed, t, params.batch_size, 8)
        update = Update(iteration=t, learning_rate=learning_rate_at(t, params), grad_clip=params.grad_clip)
        losses.append(
            training_step(model, optimizer, torch.amp.GradScaler("cpu", enabled=False), (idx, targets), update, CPU)
        )
    assert equal_states(state.model.transformer.state_dict(), model.state_dict())
    assert len(set(losses)) == params.max_iters


def test_the_model_learns_and_the_rows_are_its_losses() -> None:
    sections = {"train": {"max_iters": 60, "eval_interval": 60, "eval_iters": 1000}}
    state = trained(**sections)
    first, last = state.history
    assert last.train_loss < first.train_loss - 0.5
    for split, data in (("train_loss", TRAIN_DATA), ("val_loss", VAL_DATA)):
        assert getattr(last, split) == split_loss(state.model, data, F.cross_entropy, CPU).mean
    assert first.val_loss == split_loss(small_model(), VAL_DATA, F.cross_entropy, CPU).mean


def test_an_evaluation_scores_eval_iters_batches_and_the_learning_rate_is_that_of_the_iteration(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    block_counts = []

    def spy(*args: Any, max_blocks: int) -> dict[str, float]:
        block_counts.append(max_blocks)
        assert args[1] is TRAIN_DATA
        assert args[2] is VAL_DATA
        return {"train": 1.0, "val": 2.0}

    monkeypatch.setattr(loop, "estimate_loss", spy)
    state = trained(train={"eval_iters": 5, "batch_size": 4, "lr_schedule": "linear"})
    assert block_counts == [20, 20, 20]
    assert [row.learning_rate for row in state.history] == pytest.approx([0.01, 0.005, 0.01 / 6])
    assert {(row.train_loss, row.val_loss) for row in state.history} == {(1.0, 2.0)}


def test_dropout_is_on_in_training_and_off_in_evaluation() -> None:
    modes: list[tuple[bool, int]] = []
    state = new_state(model={"dropout": 0.3})
    state.model.transformer.register_forward_hook(lambda module, args, _: modes.append((module.training, len(args[0]))))
    fit(state, *plain_run(model={"dropout": 0.3}))
    assert sum(training for training, _ in modes) == 6
    assert {size for training, size in modes if training} == {3}
    assert not all(training for training, _ in modes)
    assert state.model.transformer.training


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_torchs_own_generator_is_left_as_it_was(dropout: float) -> None:
    before = torch.get_rng_state()
    fit(new_state(model={"dropout": dropout}), *plain_run(model={"dropout": dropout}))
    assert torch.equal(torch.get_rng_state(), before)


def test_dropout_masks_are_a_function_of_seed_and_iteration() -> None:
    one = trained(model={"dropout": 0.3})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(123)
        same = trained(model={"dropout": 0.3})
    assert equal_states(one.model.transformer.state_dict(), same.model.transformer.state_dict())
    without = trained(model={"dropout": 0.0})
    assert not equal_states(one.model.transformer.state_dict(), without.model.transformer.state_dict())
    other = trained(model={"dropout": 0.3}, train={"seed": 8})
    assert not equal_states(one.model.transformer.state_dict(), other.model.transformer.state_dict())


def test_each_iteration_has_dropout_masks_of_its_own() -> None:
    masks: list[torch.Tensor] = []
    state = new_state(model={"dropout": 0.3})
    state.model.transformer.dropout.register_forward_hook(
        lambda module, _, out: masks.append(out == 0) if module.training else None
    )
    fit(state, *plain_run(model={"dropout": 0.3}))
    assert len(masks) == 6
    assert not any(torch.equal(one, other) for one, other in combinations(masks, 2))


def saving(state: Any) -> None:
    """A save that uses random numbers and the weights, as a careless one may."""
    torch.rand(10)
    copied(state.state_dict()["model"])


WATCHING: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "evaluated after each iteration": ({"eval_interval": 1}, {}),
    "evaluated at the ends only": ({"eval_interval": 1000}, {}),
    "evaluated on more batches": ({"eval_iters": 50}, {}),
    "saved after each iteration": ({}, {"snapshot_seconds": 1e-9, "save": saving}),
    "evaluated beside the iterations": ({"eval_interval": 1}, {"beside": True}),
    "watched by an observer that draws random numbers": ({}, {"observer": Watcher(meddles=True)}),
    "all of it": (
        {"eval_interval": 1, "eval_iters": 50},
        {"snapshot_seconds": 1e-9, "save": saving, "observer": Watcher(meddles=True), "beside": True},
    ),
}


@pytest.mark.parametrize("watching", WATCHING)
def test_watching_does_not_change_a_weight(watching: str) -> None:
    train, changes = WATCHING[watching]
    plain = trained(model={"dropout": 0.2})
    watched = trained(changed=lambda run: varied(run, **changes), model={"dropout": 0.2}, train=train)
    assert equal_states(plain.model.transformer.state_dict(), watched.model.transformer.state_dict())


def test_a_run_is_saved_when_stopped_and_says_so() -> None:
    saved_at: list[int] = []
    state = new_state()

    def changed(run: Run, stop_at: int) -> Run:
        return varied(run, stopped=lambda: state.iteration == stop_at, save=lambda s: saved_at.append(s.iteration))

    assert fit(state, *changed(plain_run(), 4)) is False
    assert (state.iteration, saved_at) == (4, [4])
    assert fit(state, *changed(plain_run(), -1)) is True
    assert saved_at == [4, 6]  # and at the end, from which a longer training goes on
    assert rows_without_time(state) == rows_without_time(trained())
    assert equal_states(state.model.transformer.state_dict(), trained().model.transformer.state_dict())


def test_a_stop_after_the_last_iteration_is_no_stop() -> None:
    state = new_state()
    assert fit(state, *varied(plain_run(), stopped=lambda: state.iteration == 6)) is True


def test_snapshots_are_due_by_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    saved_at: list[int] = []
    state = new_state()
    monkeypatch.setattr(loop.time, "monotonic", lambda: 10.0 * state.iteration)
    fit(state, *varied(plain_run(), snapshot_seconds=20.0, save=lambda s: saved_at.append(s.iteration)))
    assert saved_at == [2, 4, 6]  # and at the end
