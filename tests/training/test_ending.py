"""How a training ends: after its last iteration or when patience is at its end, with the last weights or the best."""

import copy
from dataclasses import replace
from typing import Any

import pytest
from model_helpers import copied, equal_states, train_params
from torch.nn import functional as F
from training_helpers import CPU, TRAIN_DATA, VAL_DATA, Run, Watcher, new_state, plain_run, rows_without_time, varied

from gptmodel.evaluation.history import Evaluation, kept_row, patience_left
from gptmodel.evaluation.loss import estimate_loss
from gptmodel.training.loop import fit
from gptmodel.training.memory import estimate_bytes
from gptmodel.training.state import TrainingState

OVERFITS: dict[str, Any] = {  # a learning rate at which the val loss goes up and down
    "train": {"max_iters": 60, "eval_interval": 4, "eval_iters": 30, "learning_rate": 0.3, "optimizer": "adamw"}
}


def settings(**changes: Any) -> dict[str, Any]:
    return {"train": {**OVERFITS["train"], **changes}, "model": {"dropout": 0.1}}


def state_of(**changes: Any) -> TrainingState:
    state = new_state(**settings(**changes))
    if changes.get("keep") == "best":
        state.keep_best()
    return state


def run_of(**changes: Any) -> Run:
    return plain_run(**settings(**changes))


def rows(*losses: float) -> list[Evaluation]:
    row = Evaluation(iteration=0, tokens=0, seconds=0.0, learning_rate=0.1, train_loss=1.0, val_loss=0.0)
    return [replace(row, iteration=number, val_loss=loss) for number, loss in enumerate(losses)]


@pytest.mark.parametrize(
    ("losses", "patience", "left"),
    [
        ((), 2, float("inf")),
        ((3.0,), 2, 2),
        ((3.0, 2.0, 2.5), 2, 1),
        ((3.0, 2.0, 2.0), 1, 0),  # equal is no better
        ((3.0, 2.0, 2.5, 2.4), 2, 0),
        ((3.0, 2.0, 2.5, 2.4, 1.0), 2, 0),  # what comes after the end changes nothing
        ((3.0, 2.0, 2.5, 1.9, 2.0), 2, 1),
        ((3.0, 4.0, 5.0), None, float("inf")),
    ],
)
def test_patience_counts_evaluations_in_a_row_that_are_no_better(
    losses: tuple[float, ...], patience: int | None, left: float
) -> None:
    assert (patience_left(rows(*losses), patience) if losses else float("inf")) == left


def test_the_kept_row_is_the_last_or_the_first_of_the_lowest() -> None:
    history = rows(3.0, 1.0, 2.0, 1.0, 4.0)
    assert kept_row(history, "last").iteration == 4
    assert kept_row(history, "best").iteration == 1


@pytest.mark.parametrize("beside", [False, True])
def test_patience_ends_a_training_at_the_same_iteration_wherever_evaluations_compute(beside: bool) -> None:
    whole, ended, watcher = state_of(), state_of(), Watcher()
    assert fit(whole, *run_of())
    assert fit(ended, *varied(run_of(patience=3), beside=beside, observer=watcher))
    assert ended.iteration < whole.iteration
    count = len(ended.history)
    assert rows_without_time(ended) == rows_without_time(whole)[:count]
    assert patience_left(ended.history, 3) == 0
    assert patience_left(ended.history[:-1], 3) == 1
    assert [iteration for iteration, _ in watcher.losses] == list(range(1, ended.iteration + 1))
    assert ended.iteration == ended.history[-1].iteration


@pytest.mark.parametrize("beside", [False, True])
def test_the_best_weights_are_those_that_gave_the_lowest_val_loss(beside: bool) -> None:
    state = state_of(keep="best")
    assert fit(state, *varied(run_of(keep="best"), beside=beside))
    last = copied(state.model.transformer.state_dict())
    best = kept_row(state.history, "best")
    assert 0 < best.iteration < state.iteration
    state.end_with_best()
    assert not equal_states(last, state.model.transformer.state_dict())
    blocks = run_of().params.train.eval_iters * run_of().params.train.batch_size
    losses = estimate_loss(state.model, TRAIN_DATA, VAL_DATA, F.cross_entropy, CPU, max_blocks=blocks)
    assert (losses["train"], losses["val"]) == (best.train_loss, best.val_loss)


def test_keeping_the_best_changes_no_weight_and_no_loss_of_the_training() -> None:
    plain, keeping = state_of(), state_of(keep="best")
    fit(plain, *run_of())
    fit(keeping, *run_of(keep="best"))
    assert equal_states(plain.model.transformer.state_dict(), keeping.model.transformer.state_dict())
    assert rows_without_time(plain) == rows_without_time(keeping)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"keep": "best"}, marks=pytest.mark.slow),
        {"patience": 3, "keep": "best"},
        pytest.param({"patience": 3}, marks=pytest.mark.slow),
    ],
    ids=str,
)
@pytest.mark.parametrize("beside", [False, True])
def test_a_training_that_goes_on_from_any_of_its_snapshots_ends_the_same(changes: dict[str, Any], beside: bool) -> None:
    snapshots: list[dict[str, Any]] = []

    def save(state: TrainingState) -> None:
        snapshots.append(copy.deepcopy(state.state_dict()))

    whole = state_of(**changes)
    assert fit(whole, *varied(run_of(**changes), beside=beside, save=save, snapshot_seconds=1e-9))
    assert len(snapshots) > 20
    for snapshot in snapshots[::5] + snapshots[-1:]:
        again = state_of(**changes)
        again.load_state_dict(copy.deepcopy(snapshot))
        assert fit(again, *varied(run_of(**changes), beside=beside))
        assert again.iteration == whole.iteration
        assert rows_without_time(again) == rows_without_time(whole)
        for state in (again, whole):
            state.end_with_best()
        assert equal_states(again.model.transformer.state_dict(), whole.model.transformer.state_dict())


def test_a_snapshot_without_the_best_weights_does_not_fit_a_training_that_keeps_them() -> None:
    last, best = state_of(), state_of(keep="best")
    assert not best.fits(last.state_dict())
    assert not last.fits(best.state_dict())
    assert best.fits(state_of(keep="best").state_dict())


@pytest.mark.parametrize("schedule", ["constant", "linear"])
def test_the_end_is_saved_without_its_extra_evaluation_where_a_longer_training_comes_by(schedule: str) -> None:
    changes = {"max_iters": 10, "lr_schedule": schedule}
    saved: list[tuple[int, list[int]]] = []

    def save(state: TrainingState) -> None:
        saved.append((state.iteration, [row.iteration for row in state.history]))

    state = state_of(**changes)
    assert fit(state, *varied(run_of(**changes), save=save))
    assert saved == ([(10, [0, 4, 8])] if schedule == "constant" else [])
    assert [row.iteration for row in state.history] == [0, 4, 8, 10]


def test_the_best_weights_need_memory() -> None:
    params = run_of().params
    needed = [
        estimate_bytes(params.model, train_params(keep=keep), 50, 1000, threads=1, beside=False)
        for keep in ("last", "best")
    ]
    assert needed[1] > needed[0]
