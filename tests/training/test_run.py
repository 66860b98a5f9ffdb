"""What a training does between its inputs and its first iteration."""

import multiprocessing
import os
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from model_helpers import small_params

from gptmodel.config import Params
from gptmodel.data.corpus import prepare
from gptmodel.data.prepared import PreparedData, load_prepared
from gptmodel.errors import ConfigError, TrainingError
from gptmodel.training import run_lock
from gptmodel.training.run import TrainingRun
from gptmodel.training.run_lock import locked

COUNTING = {"kneser_ney": 3, "kneser_ney_share": 0.3}


@pytest.fixture
def data(tmp_path: Path) -> PreparedData:
    (tmp_path / "input.txt").write_text("hello, world\n" * 40, encoding="utf-8")
    prepare(tmp_path / "input.txt", tmp_path / "prepared", small_params().prepare)
    return load_prepared(tmp_path / "prepared")


@pytest.fixture
def _every_warning_is_an_error() -> Iterator[None]:
    torch.set_warn_always(True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
    torch.set_warn_always(False)


@pytest.mark.usefixtures("_every_warning_is_an_error")
def test_the_n_grams_of_the_train_split_are_counted_before_the_first_iteration(
    tmp_path: Path, data: PreparedData
) -> None:
    with TrainingRun.open(tmp_path / "runs", data, small_params(model=COUNTING)) as run:
        counts = run.state.model.counts
        assert counts is not None
        assert int(counts.counts.sum()) == len(data.train.ids)


@pytest.mark.usefixtures("_every_warning_is_an_error")
def test_without_counts_there_are_none(tmp_path: Path, data: PreparedData) -> None:
    with TrainingRun.open(tmp_path / "runs", data, small_params()) as run:
        assert run.state.model.counts is None


def test_an_order_too_long_for_the_vocabulary_is_told_before_anything_is_made(
    tmp_path: Path, data: PreparedData
) -> None:
    params: Params = small_params(model={**COUNTING, "kneser_ney": 16})
    with TrainingRun.open(tmp_path / "runs", data, params):
        pass  # 10 characters: 16 fit
    (tmp_path / "input.txt").write_text("".join(map(chr, range(33, 400))) * 10, encoding="utf-8")
    prepare(tmp_path / "input.txt", tmp_path / "wide", small_params().prepare)
    with (
        pytest.raises(ConfigError, match=r"^model.kneser_ney = 16: can be at most 7 with a vocabulary of 367$"),
        TrainingRun.open(tmp_path / "other", load_prepared(tmp_path / "wide"), params),
    ):
        pass
    assert not (tmp_path / "other").exists()


def test_the_lock_goes_with_the_run_however_it_ends(tmp_path: Path, data: PreparedData) -> None:
    runs = tmp_path / "runs"
    with TrainingRun.open(runs, data, small_params()) as run:
        assert (runs / f"{run.folder.name}.lock").exists()
        with (
            pytest.raises(TrainingError, match="the same training is already running in another process"),
            TrainingRun.open(runs, data, small_params()),
        ):
            pass
        assert (runs / f"{run.folder.name}.lock").exists()
        run.forget()
    assert list(runs.iterdir()) == []
    with pytest.raises(ZeroDivisionError), TrainingRun.open(runs, data, small_params()):
        raise ZeroDivisionError
    assert not list(runs.glob("*.lock"))


def _take_turns(folder: Path, turns: int) -> None:
    """Hold the lock so many times, and write down each time that somebody else was inside."""
    taken, run_lock.A_MOMENT = 0, 0.0  # whoever waits tries at every moment
    while taken < turns:
        try:
            with locked(folder / "a.lock"):
                try:
                    os.close(os.open(folder / "inside", os.O_CREAT | os.O_EXCL))
                except FileExistsError:
                    (folder / f"both-{os.getpid()}-{taken}").touch()
                    continue
                time.sleep(0.001)
                (folder / "inside").unlink()
                taken += 1
        except TrainingError:
            pass


def test_a_lock_that_is_removed_at_its_end_still_excludes_all_others(tmp_path: Path) -> None:
    """Each removal is a moment in which one may hold the file that was, and another the one that is."""
    fork = multiprocessing.get_context("fork")
    processes = [fork.Process(target=_take_turns, args=(tmp_path, 60)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert list(tmp_path.iterdir()) == []
