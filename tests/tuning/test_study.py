"""What a study hands to its workers: never the same settings twice, whoever dies, and always the same by one seed."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from tuning_helpers import FEW, study_in

from gptmodel.errors import StudyError
from gptmodel.tuning import storage
from gptmodel.tuning.study import MOST_DEATHS, Study
from gptmodel.tuning.trial import Row, Trial
from gptmodel.tuning.worker import Worker
from stages.searching import _keep_the_best


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    with Worker(tmp_path / "runs", "tiny") as living:
        yield living


def loss_of(trial: Trial, iteration: int) -> float:
    """A made-up loss, for which a small learning rate is better."""
    return 1.0 + trial.values["train.learning_rate"] / (1 + iteration)


def trained(trial: Trial, iterations: int = 3) -> None:
    """End a trial as a training would."""
    trial.begin(f"run-{trial.number}")
    losses = []
    for iteration in range(iterations + 1):
        losses.append((iteration, loss_of(trial, iteration)))
        trial.report(losses, iterations)
        if trial.is_over:
            break
    trial.settle(losses[-1][1])


def settings(rows: list[Row]) -> list[Any]:
    return [(row.state, row.iteration, row.val_loss, row.values) for row in rows]


def whole_search(folder: Path, trials: int = 5) -> list[Row]:
    """The rows of a search of one worker that nothing happened to."""
    folder.mkdir()
    study = study_in(folder, trials=trials)
    with Worker(folder / "runs", "tiny") as worker:
        while (trial := study.draw(worker)) is not None:
            trained(trial)
    return study.rows()


def test_two_workers_may_give_up_the_same_state_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One has removed it after the other saw it."""
    study = study_in(tmp_path, trials=2)
    with Worker(tmp_path / "runs", "tiny") as worker:
        for _ in range(2):
            trial = study.draw(worker)
            assert trial is not None
            trained(trial)
    monkeypatch.setattr(Path, "is_file", lambda _: True)
    _keep_the_best(study, tmp_path / "runs")


def dies(study: Study, folder: Path) -> Trial:
    """Let a worker die in the middle of a trial: its lock is free, and its file is there."""
    with ExitStack() as stack:
        worker = stack.enter_context(Worker(folder / "runs", "tiny"))
        trial = study.draw(worker)
        assert trial is not None
        trial.report([(0, 9.0), (1, 8.0)], 3)
        lock = folder / "runs" / "workers" / f"{worker.name}.lock"
    lock.touch()
    return trial


@pytest.mark.slow
def test_the_same_seed_and_one_worker_make_the_same_study_whoever_dies(tmp_path: Path, worker: Worker) -> None:
    whole = whole_search(tmp_path / "whole")
    assert {row.state for row in whole} == {"complete", "pruned"}
    assert len({tuple(row.values.items()) for row in whole}) == len(whole) == 5

    study, deaths = study_in(tmp_path), 0
    for number in range(20):
        if number in (0, 3, 4):
            lost = dies(study, tmp_path)
            deaths += 1
        trial = study.draw(worker)
        if trial is None:
            break
        if number in (0, 3, 4):
            assert trial.values == lost.values
            assert trial.number == lost.number + 1
        trained(trial)
    assert deaths == 3
    assert settings(study.rows()) == settings(whole)
    assert [*(tmp_path / "runs" / "workers").iterdir()] == [tmp_path / "runs" / "workers" / f"{worker.name}.lock"]
    assert whole_search(tmp_path / "again") == whole
    (tmp_path / "other").mkdir()
    other = study_in(tmp_path / "other", seed=4).draw(worker)
    assert other is not None
    assert other.values != whole[0].values


def test_two_workers_at_once_are_never_given_the_same(tmp_path: Path, worker: Worker) -> None:
    study = study_in(tmp_path)
    with Worker(tmp_path / "runs", "tiny") as second:
        trials = [study.draw(each) for each in (worker, second, worker, second, worker)]
        assert study.draw(worker) is None  # five are under way, and five is all
    values = [trial.values for trial in trials if trial is not None]
    assert len({tuple(each.items()) for each in values}) == 5


def test_settings_that_another_trial_has_take_its_result(tmp_path: Path, worker: Worker) -> None:
    study = study_in(tmp_path, **FEW)
    drawn = []
    while (trial := study.draw(worker)) is not None:
        drawn.append(trial)
    assert len({tuple(trial.values.items()) for trial in drawn}) == len(drawn) < 8
    followers = [row for row in study.rows() if row.remark]
    assert len(followers) == 8 - len(drawn)
    assert {row.state for row in followers} == {"under way"}

    for trial in drawn:
        trial.begin(f"run-{trial.number}")
        trial.report([(3, loss := 2.0 + trial.number)], 3)
        trial.settle(loss)
    assert study.draw(worker) is None
    by_number = {row.number: row for row in study.rows()}
    assert len(by_number) == 8
    for row in by_number.values():
        assert row.state == "complete"
        if row.remark:
            twin = by_number[int(row.remark.removeprefix("as trial "))]
            assert (row.val_loss, row.values) == (twin.val_loss, twin.values)
    best = study.best()
    assert best is not None
    assert best.number == min(trial.number for trial in drawn)


def test_a_trial_that_kills_its_workers_is_given_up(tmp_path: Path, worker: Worker) -> None:
    study = study_in(tmp_path)
    values = [dies(study, tmp_path).values for _ in range(MOST_DEATHS)]
    assert values[0] == values[1] == values[2]
    trial = study.draw(worker)
    assert trial is not None
    assert trial.values != values[0]
    (refused,) = [row for row in study.rows() if row.state == "refused"]
    assert (refused.values, refused.remark) == (values[0], "3 workers were killed while they trained it")


def test_a_worker_elsewhere_is_dead_when_it_is_silent(
    tmp_path: Path, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lock file is not here, and its trial is taken over; should it live after all, it learns of that."""
    monkeypatch.setattr(storage, "GRACE_SECONDS", 1)
    study = study_in(tmp_path)
    with Worker(tmp_path / "elsewhere" / "runs", "tiny") as elsewhere:
        slow = study.draw(elsewhere)
        assert slow is not None
        early = study.draw(worker)
        assert early is not None
        assert early.values != slow.values  # it was not silent for long enough
        trained(early)
        time.sleep(2.2)  # the database counts whole seconds
        mine = study.draw(worker)
        assert mine is not None
        assert mine.values == slow.values
        slow.report([(0, 5.0)], 3)
        assert slow.is_taken_over
        assert slow.is_over
        slow.settle(5.0)
        trained(mine)
    assert [row.state for row in study.rows()] == ["complete", "complete"]


def test_a_trial_that_is_stopped_waits_for_the_next_worker(tmp_path: Path, worker: Worker) -> None:
    study = study_in(tmp_path)
    trial = study.draw(worker)
    assert trial is not None
    study.give_back(trial)
    assert [row.state for row in study.rows()] == ["waiting"]
    for _ in range(MOST_DEATHS + 1):  # which is no death
        again = study.draw(worker)
        assert again is not None
        assert again.values == trial.values
        study.give_back(again)


@pytest.mark.parametrize("how", ["killed", "silent", "stopped"])
def test_a_kill_before_a_failed_trial_waits_again_loses_nothing(
    tmp_path: Path, worker: Worker, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    study = study_in(tmp_path)
    lost = dies(study, tmp_path) if how == "killed" else study.draw(worker)
    assert lost is not None
    first = study_in(tmp_path)  # of the worker that is killed when it had told that the trial failed
    monkeypatch.setattr(first._study, "add_trial", lambda _: pytest.fail("killed"))
    if how == "silent":
        monkeypatch.setattr(first._study._storage, "_get_stale_trial_ids", lambda _: [lost._trial._trial_id])
    with pytest.raises(pytest.fail.Exception, match="killed"):
        _ = first.give_back(lost) if how == "stopped" else first.draw(worker)

    again, new = study.draw(worker), study.draw(worker)
    assert again is not None
    assert new is not None
    assert again.values == lost.values
    assert new.values == whole_search(tmp_path / "whole", 2)[1].values


def test_more_trials_go_on_with_a_study(tmp_path: Path, worker: Worker) -> None:
    study = study_in(tmp_path, trials=2)
    for _ in range(2):
        trial = study.draw(worker)
        assert trial is not None
        trained(trial)
    assert study.draw(worker) is None
    more = study_in(tmp_path, trials=3)
    trial = more.draw(worker)
    assert trial is not None
    assert more.draw(worker) is None


def test_nobody_waits_for_ever_for_a_turn(tmp_path: Path, worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "WAIT_SECONDS", 0.2)
    study = study_in(tmp_path)
    with FileLock(tmp_path / "studies.db.lock"), pytest.raises(StudyError, match="another worker holds it"):
        study.draw(worker)
