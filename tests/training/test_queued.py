"""Iterations that are queued, on a CPU: the same as in turn, and nothing is updated once a loss was not finite."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from training_helpers import CPU, TRAIN_DATA, new_state, plain_run

from gptmodel.compute.place import Place
from gptmodel.data.batches import Splits, ids_on, training_batch
from gptmodel.errors import TrainingError
from gptmodel.training.queued import AHEAD, Queued, queue_of
from gptmodel.training.state import TrainingState
from gptmodel.training.step import Update, nats_of_all, training_step

SETTINGS: dict[str, dict[str, Any]] = {
    "adamw": {"train": {"optimizer": "adamw"}},
    "clipped": {"train": {"optimizer": "adamw", "grad_clip": 0.1}},
    "sgd": {"train": {"optimizer": "sgd", "learning_rate": 0.1}},
    "muon": {"train": {"optimizer": "muon", "muon_lr": 0.02, "muon_momentum": 0.95, "weight_decay": 0.1}},
    "dropout": {"model": {"dropout": 0.2}},
    "warm-up": {"train": {"warmup_iters": 3, "lr_schedule": "cosine", "max_iters": 100}},
}
each_setting = pytest.mark.parametrize("sections", SETTINGS.values(), ids=SETTINGS)


def queued(state: TrainingState, place: Place = CPU, **sections: dict[str, Any]) -> Queued:
    tokens = torch.from_numpy(TRAIN_DATA.astype("int64"))
    state.model.transformer.train()
    return Queued(nats_of_all, state, tokens, plain_run(**sections).params, place)


def weights(state: TrainingState) -> list[torch.Tensor]:
    kept = [value for values in state.optimizer.state.values() for value in values.values()]
    return [tensor.detach().clone() for tensor in (*state.model.transformer.parameters(), *kept)]


@each_setting
def test_they_do_what_iterations_in_turn_do(sections: dict[str, dict[str, Any]]) -> None:
    one, other, run = new_state(**sections), new_state(**sections), plain_run(**sections)
    queue = queued(one, **sections)
    train, model, scaler = run.params.train, other.model.transformer.train(), other.scaler
    for iteration in range(AHEAD + 3):  # past what is planned at once
        queue.do(iteration)
        batch = training_batch(TRAIN_DATA, train.seed, iteration, train.batch_size, model.params.block_size)
        loss = training_step(model, other.optimizer, scaler, batch, Update.at(iteration, run.params), CPU)
        assert queue.loss() == pytest.approx(loss, rel=1e-4)
    for weight, expected in zip(weights(one), weights(other), strict=True):
        torch.testing.assert_close(weight, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("sections", [{}, {"model": {"dropout": 0.2}}], ids=["plain", "dropout"])
def test_the_parts_of_a_batch_are_those_of_iterations_in_turn(sections: dict[str, dict[str, Any]]) -> None:
    one, other, run = new_state(**sections), new_state(**sections), plain_run(**sections)
    place = replace(CPU, parts=3)
    queue = queued(one, place, **sections)
    train, model = run.params.train, other.model.transformer.train()
    for iteration in range(3):
        queue.do(iteration)
        batch = training_batch(TRAIN_DATA, train.seed, iteration, train.batch_size, model.params.block_size)
        update = Update.at(iteration, run.params)
        assert queue.loss() == pytest.approx(training_step(model, other.optimizer, other.scaler, batch, update, place))
    assert all(map(torch.equal, weights(one), weights(other)))


def test_going_on_in_the_middle_of_a_plan_gives_the_same_weights() -> None:
    state = new_state()
    queue = queued(state)
    for iteration in range(7):
        queue.do(iteration)
    again = queued(state)
    for iteration in range(7, 20):
        again.do(iteration)
    whole = new_state()
    queue = queued(whole)
    for iteration in range(20):
        queue.do(iteration)
    assert all(map(torch.equal, weights(state), weights(whole)))


@each_setting
def test_from_the_first_loss_that_is_not_finite_nothing_is_updated(sections: dict[str, dict[str, Any]]) -> None:
    state = new_state(**sections)
    queue = queued(state, **sections)
    for iteration in range(5):
        queue.do(iteration)
    queue.loss()
    with torch.no_grad():
        state.model.transformer.decoder.bias[0] = torch.inf
    before = weights(state)
    for iteration in range(5, 9):
        queue.do(iteration)
    with pytest.raises(TrainingError, match="the loss is nan at iteration 5, at a learning rate of"):
        queue.loss()
    assert all(map(torch.equal, weights(state), before))


def test_a_norm_that_is_not_finite_is_named() -> None:
    state = new_state()
    queue = queued(state)
    queue.do(0)
    next(state.model.transformer.parameters()).register_hook(lambda grad: grad * torch.inf)
    queue.do(1)
    with pytest.raises(TrainingError, match=r"the norm of the gradient is (inf|nan) at iteration 1"):
        queue.loss()


def test_batches_cut_from_ids_on_a_device_are_those_of_the_file() -> None:
    expected = training_batch(TRAIN_DATA, 7, 3, 4, 8)
    on_device = training_batch(torch.from_numpy(TRAIN_DATA.astype("int32")), 7, 3, 4, 8)
    assert all(map(torch.equal, on_device, expected))
    assert ids_on(TRAIN_DATA, torch.device("cpu")) is TRAIN_DATA
    assert Splits(TRAIN_DATA, TRAIN_DATA).on(torch.device("cpu")).val is TRAIN_DATA


@pytest.mark.parametrize(
    ("sections", "is_queued"),
    [
        ({}, True),
        ({"model": {"ngram_orders": [2]}}, False),
        ({"train": {"teacher_order": 2, "teacher_share": 0.3}}, False),
    ],
    ids=["plain", "n-grams", "teacher"],
)
def test_who_has_to_wait_is_not_queued(sections: dict[str, dict[str, Any]], is_queued: bool) -> None:
    state, tokens = new_state(**sections), torch.from_numpy(TRAIN_DATA.astype("int64"))
    queue = queue_of(nats_of_all, state, tokens, plain_run(**sections).params, CPU)
    assert (queue is not None) is is_queued
