"""What else can go wrong: the inputs change, the numbers blow up, a second training starts, the clock jumps."""

import json
from pathlib import Path

import pytest
from attempts import ROOT
from projects import JOURNAL_ONLY, Project, new_project, points, sha256, write_text

from gptmodel.files import digest


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return new_project(tmp_path / "project")


def test_data_replaced_under_a_training(tmp_path: Path, project: Project) -> None:
    """DVC would record the new data as what the model was trained on."""
    (project.folder / "dvc.yaml").write_bytes((ROOT / "dvc.yaml").read_bytes())
    write_text(project.folder / "data" / "input.txt", seed=2)
    project.succeed("prepare", "--out", str(tmp_path / "other"))
    new = tmp_path / "other" / "data" / "prepared" / "train.bin"
    old = project.folder / "data" / "prepared" / "train.bin"
    moment = {"place": "gptmodel.evaluation.loss:estimate_loss", "call": 3, "path": str(old), "by": str(new)}
    attempt = project.run("train", injuries={**JOURNAL_ONLY, "replace_inside": moment})
    assert attempt.status == 2
    assert attempt.error.splitlines()[-1] == "error: data/prepared: changed while train ran; run it again"
    assert not project.model.exists()
    assert not (project.folder / "metrics" / "train.json").exists()
    assert project.journals[0].last_status() == "FAILED"

    project.succeed("prepare")
    attempt = project.succeed("train", injuries=JOURNAL_ONLY)
    assert "continued" not in attempt.error  # the old state is of other data
    straight = new_project(tmp_path / "straight")
    write_text(straight.folder / "data" / "input.txt", seed=2)
    straight.succeed("prepare")
    straight.succeed("train", injuries=JOURNAL_ONLY)
    assert project.outcome() == straight.outcome()


@pytest.mark.parametrize("out", ["", "elsewhere"])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_loss_that_is_not_finite_costs_no_model(project: Project, optimizer: str, out: str) -> None:
    project.succeed("train", injuries=JOURNAL_ONLY)
    names = ["models/model.pth", "models/run.json", "metrics/train.json", "metrics/history.csv"]
    before = {name: sha256(project.folder / name) for name in names}
    arguments = [
        "-S",
        "train.learning_rate=1e30",
        "-S",
        "train.lr_schedule=constant",
        "-S",
        f"train.optimizer={optimizer}",
        "--out",
        out or ".",
    ]
    attempt = project.run("train", *arguments, injuries=JOURNAL_ONLY)
    assert attempt.status == 2, attempt.error
    line = attempt.error.splitlines()[-1]
    assert line.startswith("error: the loss is ")
    assert "at iteration " in line
    assert "at a learning rate of 1e+30" in line
    assert "Traceback" not in attempt.error
    assert {name: sha256(project.folder / name) for name in names} == before
    assert not (project.folder / "elsewhere" / "models").exists()
    statuses = [journal.last_status() for journal in project.journals]
    assert statuses == (["FINISHED"] if out else ["FINISHED", "FAILED"])  # what is written elsewhere is not tracked


def test_two_trainings_at_once(project: Project, alone: Project, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    moment = {"place": "gptmodel.training.step:training_step", "call": 10, "mark": str(mark)}
    first = project.start("train", injuries={**JOURNAL_ONLY, "wait_inside": moment})
    while not mark.exists():
        assert first.status is None, first.error
        first.listen(0.01)
    second = project.run("train", injuries=JOURNAL_ONLY)
    assert second.status == 2
    (line,) = second.error.splitlines()
    assert line.startswith("error: the same training is already running in another process")
    mark.unlink()
    assert first.wait() == 0
    assert project.outcome() == alone.outcome()
    assert len(project.journals) == 1
    assert points(project.journals[0]) == points(alone.journals[0])


def test_two_trainings_that_end_at_once_leave_the_files_of_one(project: Project, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    moment = {"place": "stages.tracked:log_training", "call": 1, "mark": str(mark)}  # its model is written
    first = project.start("train", injuries={**JOURNAL_ONLY, "wait_inside": moment})
    while not mark.exists():
        assert first.status is None, first.error
        first.listen(0.01)
    of_first, last = sha256(project.model), project.snapshots[-1].name
    second = project.start("train", "-S", "train.seed=2", injuries=JOURNAL_ONLY)
    while [path.name for path in project.snapshots].count(last) < 2 and second.status is None:
        second.listen(0.01)
    second.listen(1.0)
    assert second.status is None
    assert sha256(project.model) == of_first
    mark.unlink()
    assert (first.wait(), second.wait()) == (0, 0)
    key = json.loads((project.folder / "models" / "run.json").read_text(encoding="utf-8"))["journal"]
    (journal,) = (journal for journal in project.journals if journal.key == key)
    tags = [event["values"] for event in journal.read()[0] if event["kind"] == "tags"]
    assert {"model.md5": digest(project.model, "md5")} in tags
    assert sha256(project.model) != of_first


def test_a_clock_that_runs_backwards(project: Project, alone: Project) -> None:
    moment = {"place": "gptmodel.training.step:training_step", "call": 10, "after": 0}
    backwards = {**JOURNAL_ONLY, "clock_runs_back": {}}
    assert project.run("train", injuries={**backwards, "kill_inside": moment}).killed
    assert "continued from iteration 9" in project.succeed("train", injuries=backwards).error
    assert project.outcome() == alone.outcome()
    (journal,) = project.journals
    assert points(journal) == points(alone.journals[0])
    seconds = [float(line.split(",")[2]) for line in history(project)]
    assert seconds == sorted(seconds)
    assert json.loads((project.folder / "metrics" / "train.json").read_text(encoding="utf-8"))["seconds"] > 0


@pytest.mark.parametrize("damage", ["newest torn", "newest flipped", "both torn", "newest empty"])
def test_a_damaged_snapshot_is_never_trained_on(project: Project, alone: Project, damage: str) -> None:
    moment = {"place": "gptmodel.training.step:training_step", "call": 10, "after": 0}
    assert project.run("train", injuries={**JOURNAL_ONLY, "kill_inside": moment}).killed
    older, newest = project.snapshots
    for path in (older, newest) if damage == "both torn" else (newest,):
        content = bytearray(path.read_bytes())
        if damage.endswith("flipped"):
            content[len(content) // 2] ^= 16
        path.write_bytes(b"" if damage.endswith("empty") else content[:-1000] if damage.endswith("torn") else content)
    attempt = project.succeed("train", injuries=JOURNAL_ONLY)
    assert ("continued from iteration 8" in attempt.error) == (damage != "both torn")
    assert ("continued" in attempt.error) == (damage != "both torn")
    assert project.outcome() == alone.outcome()


def test_a_folder_of_another_training_is_left_alone(project: Project) -> None:
    """A changed setting begins a new run; the old one can still be continued."""
    moment = {"place": "gptmodel.training.step:training_step", "call": 10, "after": 0}
    assert project.run("train", injuries={**JOURNAL_ONLY, "kill_inside": moment}).killed
    before = {path.name: sha256(path) for path in project.snapshots}
    attempt = project.succeed("train", "-S", "train.seed=1", "--out", "elsewhere", injuries=JOURNAL_ONLY)
    assert "continued" not in attempt.error
    assert {path.name: sha256(path) for path in project.snapshots} == before
    assert "continued from iteration 9" in project.succeed("train", injuries=JOURNAL_ONLY).error


def history(project: Project) -> list[str]:
    return (project.folder / "metrics" / "history.csv").read_text(encoding="utf-8").splitlines()[1:]
