"""`gptmodel tune` as processes: workers side by side, killed and stopped ones, and what becomes of the trainings."""

import re
import shutil
import signal
from collections import Counter
from pathlib import Path

import pytest
from made_once import made_once
from projects import JOURNAL_ONLY, Project, points
from tuning_helpers import FEW, SHORT, new_search, settings_of, study_of, trained_by

UNTRACKED = {"mlflow": False}
STEP = "gptmodel.training.step:training_step"


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project after a search of one worker that nothing happened to; do not change it."""

    def make(folder: Path) -> None:
        new_search(folder / "project", {}).succeed("tune", injuries=JOURNAL_ONLY)

    return Project(made_once(tmp_path_factory, "searched", make) / "project")


@pytest.fixture
def copy(searched: Project, tmp_path: Path) -> Project:
    shutil.copytree(searched.folder, tmp_path / "project")
    return Project(tmp_path / "project")


def test_a_search_from_its_start_to_its_end(searched: Project) -> None:
    study = study_of(searched)
    states = Counter(row.state for row in study.rows())
    assert states["complete"] >= 2
    assert states["pruned"] >= 1
    assert states.total() == 5
    best = study.best()
    assert best is not None
    kept = {path.parent.name for path in searched.folder.glob("runs/*/study")}
    assert kept == {best.run} | {row.run for row in study.rows() if row.state == "pruned"}
    assert not list((searched.folder / "runs" / "workers").iterdir())
    assert not (searched.folder / "models").exists()
    for journal in searched.journals:
        tags = {
            key: value
            for event in journal.read()[0]
            if event["kind"] == "tags"
            for key, value in event["values"].items()
        }
        row = study.rows()[int(tags["gptmodel.trial"])]
        assert tags["gptmodel.study"] == "tiny"
        assert journal.last_status() == ("FINISHED" if row.state == "complete" else "KILLED")
    assert len(searched.journals) == 5


def test_its_words(copy: Project) -> None:
    """Nothing is trained a second time; the table and the best can be had at any time."""
    attempt = copy.succeed("tune")
    assert trained_by(attempt) == []
    status = copy.succeed("tune", "--status")
    head, columns, *rows = status.output.splitlines()
    assert re.fullmatch(r"study tiny: 5 of 5 trials: \d complete, \d pruned", head)
    assert columns.split() == ["trial", "state", "iteration", "val", "loss", "settings"]
    assert len(rows) == 5
    assert attempt.output.startswith(status.output)
    assert attempt.output.splitlines()[-1].endswith(
        "`dvc exp run $(gptmodel tune tune.yaml --best)` makes it an experiment"
    )
    best = study_of(copy).best()
    assert best is not None
    said = copy.succeed("tune", "--best")
    words = said.output.split()
    assert words[::2] == ["-S"] * 3
    assert [word.partition("=")[0] for word in words[1::2]] == [*best.values]
    assert said.error == ""
    assert rows[0].split()[0] == str(best.number)
    copy.succeed("doctor", "--free", "tiny")
    assert "so a training of it starts anew" in copy.succeed("tune", "--best").error


def test_the_best_starts_finished_and_a_pruned_trial_goes_on(copy: Project, tmp_path: Path) -> None:
    """Either ends with the bytes, and in the run of the tracker, of a training that was nobody's trial."""
    study, fresh = study_of(copy), Project(tmp_path / "fresh")
    shutil.copytree(copy.folder, fresh.folder, ignore=shutil.ignore_patterns("runs", "studies.db*"))
    best = study.best()
    pruned = next(row for row in study.rows() if row.state == "pruned")
    assert best is not None
    before = len(copy.journals)
    for row, start in ((best, 8), (pruned, pruned.iteration)):
        options = [word for name, value in row.values.items() for word in ("-S", f"{name}={value}")]
        attempt = copy.succeed("train", *options, injuries=JOURNAL_ONLY)
        begun = re.search(r"continued from iteration (\d+)", attempt.error)
        assert begun is not None
        assert int(begun[1]) >= (start or 0)
        assert int(begun[1]) < 8 or row is best
        fresh.succeed("train", *options, injuries=JOURNAL_ONLY)
        assert copy.outcome() == fresh.outcome()
        assert not (copy.folder / "runs" / str(row.run)).exists()
    assert len(copy.journals) == before


def test_a_trial_made_longer_is_a_training_that_was_so_long_from_the_start(tmp_path: Path) -> None:
    """What only the last iteration of a trial made due is in no state that a longer training goes on from."""
    constant = {"max_iters": 9, "lr_schedule": "constant", "keep": "best"}
    project = new_search(tmp_path / "project", {}, SHORT | constant, trials=1, space={"train.seed": [5, 6]})
    project.succeed("tune", injuries=JOURNAL_ONLY)
    best, fresh = project.succeed("tune", "--best").output.split(), Project(tmp_path / "fresh")
    shutil.copytree(project.folder, fresh.folder, ignore=shutil.ignore_patterns("runs", "studies.db*"))
    assert "continued from iteration 9" in project.succeed("train", *best, injuries=JOURNAL_ONLY).error
    (journal,) = project.journals
    assert {step for name, step in points(journal) if name == "val_loss"} == {0, 2, 4, 6, 8, 9}  # none twice
    longer = (*best, "-S", "train.max_iters=12")
    attempt = project.succeed("train", *longer, injuries=JOURNAL_ONLY)
    assert "continued from iteration 9, where a shorter training ended" in attempt.error
    fresh.succeed("train", *longer, injuries=JOURNAL_ONLY)
    assert project.outcome() == fresh.outcome()


def test_workers_side_by_side_train_no_settings_twice(tmp_path: Path) -> None:
    project = new_search(tmp_path / "project", UNTRACKED, **FEW)
    workers = [project.start("tune") for _ in range(3)]
    assert [worker.wait() for worker in workers] == [0, 0, 0], [worker.error for worker in workers]
    trained = trained_by(*workers)
    assert len(trained) == len({*trained}) >= 4
    rows = study_of(project).rows()
    assert [row.state for row in rows] == ["complete"] * 8
    assert sum(bool(row.remark) for row in rows) == 8 - len(trained)
    assert not any(worker.error for worker in workers)


def test_killed_workers(searched: Project, tmp_path: Path) -> None:
    """Another finishes the trial of one that is killed, from its snapshot; the study is that of a search unhurt."""
    project, mark = new_search(tmp_path / "project", UNTRACKED), tmp_path / "mark"
    for call in (5, 12):
        killed = project.run("tune", injuries={"kill_inside": {"place": STEP, "call": call, "after": 5}})
        assert killed.killed
    held = project.start("tune", injuries={"wait_inside": {"place": STEP, "call": 3, "mark": str(mark)}})
    while not mark.exists():
        held.listen(0.05)
        assert held.status is None, held.error
    held.signal(signal.SIGKILL)
    held.wait()
    project.succeed("tune")
    assert settings_of(project) == settings_of(searched)


@pytest.mark.parametrize(
    "number",
    [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM],
    ids=lambda number: number.name,
)
def test_a_stopped_worker_saves_its_trial(searched: Project, tmp_path: Path, number: signal.Signals) -> None:
    project = new_search(tmp_path / "project", {"mlflow": False, "snapshot_seconds": 1e9})
    stopped = project.run("tune", injuries={"kill_inside": {"place": STEP, "call": 13, "after": 5, "number": number}})
    assert stopped.status == 128 + number
    last = stopped.error.splitlines()[-1]
    assert re.fullmatch(r"trial \d: stopped at iteration \d+, the state is saved; run the same command to go on", last)
    assert "waiting" in project.succeed("tune", "--status").output
    project.succeed("tune")
    assert settings_of(project) == settings_of(searched)


def test_a_trial_waits_for_the_same_training_by_hand(tmp_path: Path) -> None:
    project = new_search(tmp_path / "project", UNTRACKED, trials=1, space={"train.seed": [5, 6]})
    marks = {seed: tmp_path / f"mark-{seed}" for seed in (5, 6)}
    by_hand = []
    for seed, mark in marks.items():
        moment = {"place": STEP, "call": 2, "mark": str(mark)}
        by_hand.append(project.start("train", "-S", f"train.seed={seed}", injuries={"wait_inside": moment}))
    while not all(mark.exists() for mark in marks.values()):
        assert [each.status for each in by_hand] == [None, None], [each.error for each in by_hand]
        by_hand[0].listen(0.05)
    worker = project.start("tune")
    while "waits for another process that trains the same" not in worker.said("stderr"):
        assert worker.status is None, worker.error
        worker.listen(0.05)
    for mark, training in zip(marks.values(), by_hand, strict=True):
        mark.unlink()
        assert training.wait() == 0, training.error
    assert worker.wait() == 0, worker.error
    assert len(trained_by(worker)) == 1
