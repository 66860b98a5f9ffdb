"""A training that is made longer goes on from the end of the shorter one, and ends as if it had been longer at once."""

import os
from pathlib import Path
from typing import Any

import pytest
from model_helpers import small_params
from training_helpers import Watcher, rows_without_time

from gptmodel.data.corpus import prepare
from gptmodel.data.prepared import PreparedData, load_prepared
from gptmodel.training import ends
from gptmodel.training.ends import why_anew
from gptmodel.training.loop import Hooks, fit
from gptmodel.training.run import TrainingRun

MUON = {"optimizer": "muon", "muon_lr": 0.02, "muon_momentum": 0.9, "warmup_iters": 3}
COUNTED = {"kneser_ney": 2, "kneser_ney_share": 0.3}
KINDS: dict[str, dict[str, dict[str, Any]]] = {
    "muon, n-grams, dropout": {
        "model": {"ngram_orders": [2, 3], "ngram_dropout": 0.3, "dropout": 0.2, **COUNTED},
        "train": {**MUON, "ngram_floor": 1.0, "parts": 2},
    },
    "the best weights of a training that wanders": {"train": {"keep": "best", "learning_rate": 0.3, "eval_iters": 20}},
    "plain sgd with a patience": {"train": {"optimizer": "sgd", "patience": 3}},
}


@pytest.fixture
def data(tmp_path: Path) -> PreparedData:
    (tmp_path / "input.txt").write_text("hello, world; fine words\n" * 40, encoding="utf-8")
    prepare(tmp_path / "input.txt", tmp_path / "prepared", small_params().prepare)
    return load_prepared(tmp_path / "prepared")


def train(
    runs: Path, data: PreparedData, settings: dict[str, dict[str, Any]], **changes: Any
) -> tuple[bytes, Any, int]:
    """Train to the end; return model.pth, the run, and the iteration that it began at."""
    plain = {"eval_interval": 4, **settings.get("train", {}), **changes}
    params = small_params(model=settings.get("model", {}), train=plain)
    with TrainingRun.open(runs, data, params) as run:
        began = run.state.iteration
        assert ("where a shorter training ended" in run.summary()) == (began > 0)
        hooks = Hooks(observer=Watcher(), save=run.save, stopped=lambda: False)
        assert fit(run.state, run.splits, params, run.place, hooks)
        out = runs.parent / "out"
        run.finish(out / "model.pth", out / "train.json", out / "history.csv")
        run.forget()
        assert not run.folder.exists()
        return (out / "model.pth").read_bytes(), run, began


@pytest.mark.parametrize("kind", KINDS)
def test_made_longer_twice_it_ends_with_the_bytes_of_the_longest(tmp_path: Path, data: PreparedData, kind: str) -> None:
    at_once, whole, _ = train(tmp_path / "alone", data, KINDS[kind], max_iters=26)
    for iterations, began in ((10, 0), (18, 10), (26, 18)):  # 10, 18 and 26 are evaluated only where they are the last
        content, run, begun = train(tmp_path / "runs", data, KINDS[kind], max_iters=iterations)
        assert begun == began
        assert [row.iteration for row in run.state.history] == [*range(0, iterations, 4), iterations]
        seconds = [row.seconds for row in run.state.history]
        assert seconds == sorted(seconds)
        assert run.state.seconds >= seconds[-1]
    assert content == at_once
    assert rows_without_time(run.state) == rows_without_time(whole.state)


def test_another_training_begins(tmp_path: Path, data: PreparedData) -> None:
    train(tmp_path / "runs", data, {}, max_iters=10)
    for changes in (
        {"max_iters": 10},  # the same again is trained again
        {"max_iters": 8},
        {"max_iters": 20, "seed": 8},
        {"max_iters": 20, "eval_interval": 5},
        {"max_iters": 20, "lr_schedule": "linear"},
    ):
        assert train(tmp_path / "runs", data, {}, **changes)[2] == 0, changes
    (tmp_path / "input.txt").write_text("hello, world; fine words\n" * 41, encoding="utf-8")
    prepare(tmp_path / "input.txt", tmp_path / "other", small_params().prepare)
    assert train(tmp_path / "runs", load_prepared(tmp_path / "other"), {}, max_iters=30)[2] == 0
    assert train(tmp_path / "runs", data, {}, max_iters=20)[2] == 10


def test_a_training_whose_learning_rates_depend_on_its_length_leaves_no_state(
    tmp_path: Path, data: PreparedData
) -> None:
    train(tmp_path / "runs", data, {}, lr_schedule="cosine")
    assert list((tmp_path / "runs").rglob("*")) == []


def test_more_patience_goes_on_where_less_ended(tmp_path: Path, data: PreparedData) -> None:
    wanders = {"train": {"learning_rate": 0.3, "eval_interval": 2, "eval_iters": 20}}
    _, ended, _ = train(tmp_path / "runs", data, wanders, max_iters=60, patience=2)
    assert ended.state.iteration < 60
    at_once, _, _ = train(tmp_path / "alone", data, wanders, max_iters=60, patience=4)
    content, _, began = train(tmp_path / "runs", data, wanders, max_iters=60, patience=4)
    assert (content, began) == (at_once, ended.state.iteration)
    assert train(tmp_path / "runs", data, wanders, max_iters=60, patience=1)[2] == 0  # it had ended before


def test_a_damaged_state_is_not_gone_on_from(tmp_path: Path, data: PreparedData) -> None:
    train(tmp_path / "runs", data, {}, max_iters=10)
    (state,) = (tmp_path / "runs" / "ends").glob("*/*.pt")
    content = bytearray(state.read_bytes())
    content[len(content) // 2] ^= 1
    state.write_bytes(content)
    assert train(tmp_path / "runs", data, {}, max_iters=20)[2] == 0


def test_the_newest_states_are_kept_up_to_a_size(
    tmp_path: Path, data: PreparedData, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = tmp_path / "runs" / "ends"
    for seed in (1, 2, 3):
        train(tmp_path / "runs", data, {}, seed=seed)
        for age, path in enumerate(sorted(states.glob("*/*.pt"), key=lambda path: path.stat().st_mtime, reverse=True)):
            os.utime(path, (1e9 - age, 1e9 - age))
    size = next(states.glob("*/*.pt")).stat().st_size
    monkeypatch.setattr(ends, "MOST_BYTES", 2 * size + 100)
    train(tmp_path / "runs", data, {}, seed=4)
    assert len(list(states.glob("*/*.pt"))) == len(list(states.iterdir())) == 2
    assert train(tmp_path / "runs", data, {}, seed=4, max_iters=8)[2] == 6
    monkeypatch.setattr(ends, "MOST_BYTES", 1)
    train(tmp_path / "runs", data, {}, seed=5)
    assert len(list(states.glob("*/*.pt"))) == 1
    assert train(tmp_path / "runs", data, {}, seed=5, max_iters=8)[2] == 6


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"max_iters": 9}, "starts anew: runs/ends has no state after 6 iterations with this text, code and platform"),
        ({"max_iters": 9, "patience": 2}, "starts anew: runs/ends has no state after 6 iterations"),
        ({"max_iters": 9, "seed": 8}, None),
        ({"max_iters": 5}, None),
        ({}, None),
    ],
)
def test_what_is_said_of_a_longer_training_that_begins(changes: dict[str, Any], said: str | None) -> None:
    before = small_params().model_dump(mode="json")
    reason = why_anew(small_params(train=changes), before, Path("runs/ends"))
    assert reason is None if said is None else str(reason).startswith(said)
    assert why_anew(small_params(train=changes), {}, Path()) is None
    assert why_anew(small_params(train=changes, model={"norm": "pre"}), before, Path()) is None


def test_the_schedule_is_the_reason_where_it_is() -> None:
    before = small_params(train={"lr_schedule": "cosine"}).model_dump(mode="json")
    reason = why_anew(small_params(train={"lr_schedule": "cosine", "max_iters": 9}), before, Path())
    rates = "with train.lr_schedule = cosine, 9 iterations have other learning rates than 6"
    assert reason == f"starts anew: {rates}; only a constant one goes on"
