"""The evaluate stage: a model file is all that it needs of a training."""

import json
import shutil
from pathlib import Path

from projects import Project, new_project

from gptmodel.evaluation.history import read_history


def metrics(folder: Path) -> dict[str, object]:
    return dict(json.loads((folder / "metrics" / "evaluate.json").read_text(encoding="utf-8")))


def test_a_model_file_that_stands_alone_is_judged(alone: Project, tmp_path: Path) -> None:
    """Of a file in a folder of its own nothing else is looked for: no history, and no run of another model."""
    (tmp_path / "elsewhere").mkdir()
    shutil.copy(alone.model, tmp_path / "elsewhere" / "model.pth")
    before = [journal.read()[0] for journal in alone.journals]
    by_itself = alone.succeed(
        "evaluate", "--model", str(tmp_path / "elsewhere" / "model.pth"), "--out", str(tmp_path / "a")
    )
    assert [journal.read()[0] for journal in alone.journals] == before
    assert sorted(path.name for path in (tmp_path / "a" / "plots").iterdir()) == ["loss_by_position.png"]
    in_place = alone.succeed("evaluate", "--out", str(tmp_path / "b"), "-S", "runtime.mlflow=false")
    *losses, _ = by_itself.output.splitlines()  # the last line is on the curve of the training, which only one has
    assert losses == in_place.output.splitlines()[:-1]
    assert metrics(tmp_path / "a") == metrics(tmp_path / "b")
    assert (tmp_path / "b" / "plots" / "loss_curves.png").is_file()


def test_another_rule_for_the_verdict_scores_nothing_again(alone: Project, tmp_path: Path) -> None:
    project = Project(Path(shutil.copytree(alone.folder, tmp_path / "copy")))
    quiet, report = ("-S", "runtime.mlflow=false"), tmp_path / "calls.json"
    counting = {"count_calls": {"places": ["gptmodel.evaluation.scores:score"], "report": str(report)}}
    first = project.succeed("evaluate", *quiet)
    kept = list((project.folder / "runs" / "scores").iterdir())
    assert len(kept) == 1
    elsewhere = project.succeed("evaluate", *quiet, "-S", "evaluate.max_tokens=100", "--out", str(tmp_path / "d"))
    assert "of 17,999 tokens, spread evenly" in elsewhere.output
    assert list((project.folder / "runs" / "scores").iterdir()) == kept  # a trial leaves nothing in the project
    strict = project.succeed("evaluate", *quiet, "-S", "evaluate.overfit_gap=0.0001", injuries=counting)
    assert not report.exists()
    assert "nothing is scored again" in strict.error
    assert strict.output.splitlines()[:2] == first.output.splitlines()[:2]
    project.succeed("evaluate", *quiet, "-S", "evaluate.max_tokens=100", injuries=counting)
    assert json.loads(report.read_text(encoding="utf-8"))["gptmodel.evaluation.scores:score"][0] == 1


def test_a_model_that_is_replaced_meanwhile_gets_no_losses_of_the_one_before(alone: Project, tmp_path: Path) -> None:
    """With other settings nothing is tracked, and yet the scores are kept for later evaluations and comparisons."""
    project = Project(Path(shutil.copytree(alone.folder, tmp_path / "copy")))
    other = tmp_path / "other.pth"
    other.write_bytes(project.model.read_bytes() + b"another")
    before = {path: path.read_bytes() for path in (project.folder / "evaluation").glob("*")}
    moment = {"place": "gptmodel.evaluation.counting:counting_loss", "call": 1, "path": str(project.model)}
    settings = ("-S", "evaluate.overfit_gap=0.5", "-S", "evaluate.max_tokens=100")
    attempt = project.run("evaluate", *settings, injuries={"replace_inside": {**moment, "by": str(other)}})
    assert attempt.status == 2
    assert attempt.error.splitlines()[-1].endswith("changed while evaluate ran; run it again")
    assert not list(project.folder.glob("runs/scores/*"))
    assert {path: path.read_bytes() for path in (project.folder / "evaluation").glob("*")} == before


def test_a_model_without_its_history_is_judged_too(alone: Project, tmp_path: Path) -> None:
    (tmp_path / "c" / "models").mkdir(parents=True)
    shutil.copy(alone.model, tmp_path / "c" / "models" / "model.pth")
    result = alone.succeed(
        "evaluate", "--model", str(tmp_path / "c" / "models" / "model.pth"), "--out", str(tmp_path / "c")
    )
    assert "val" in result.output
    assert not (tmp_path / "c" / "plots" / "loss_curves.png").exists()


def test_under_dvc_the_metrics_and_the_history_follow_the_training(tmp_path: Path) -> None:
    """A training that is killed in its third evaluation has written both files at the second; by hand neither."""
    project = new_project(tmp_path / "project")
    injury = {"kill_inside": {"place": "gptmodel.evaluation.loss:estimate_loss", "call": 3, "after": 0}}
    history, metrics_file = project.folder / "metrics" / "history.csv", project.folder / "metrics" / "train.json"
    assert project.run("train", "-S", "runtime.mlflow=false", injuries=injury).killed
    assert not history.exists()
    shutil.rmtree(project.folder / "runs")
    assert project.run("train", "-S", "runtime.mlflow=false", injuries=injury, DVC_STAGE="train").killed
    rows = read_history(history)
    assert [row.iteration for row in rows] == [0, 4]
    written = json.loads(metrics_file.read_text(encoding="utf-8"))
    assert (written["val_loss"], written["train_loss"]) == (rows[-1].val_loss, rows[-1].train_loss)
    project.succeed("train", "-S", "runtime.mlflow=false")
    assert [row.iteration for row in read_history(history)] == list(range(0, 25, 4))


def test_the_test_split_is_scored_when_it_is_asked_for_and_by_nothing_else(alone: Project, tmp_path: Path) -> None:
    project = Project(Path(shutil.copytree(alone.folder, tmp_path / "copy")))
    fractions = ("-S", "prepare.train_fraction=0.8", "-S", "prepare.test_fraction=0.1")
    assert " test tokens (char" in project.succeed("prepare", *fractions).output
    test = project.folder / "data" / "prepared" / "test.bin"
    before = project.succeed("evaluate", "-S", "runtime.mlflow=false", "--out", str(tmp_path / "a"))
    runs = [journal.read()[0] for journal in project.journals]
    scored = project.succeed("evaluate", "--test", "--out", str(tmp_path / "b"))
    assert scored.output.startswith("test  loss ")
    assert list(metrics(tmp_path / "b")) == ["test"]
    assert [journal.read()[0] for journal in project.journals] == runs
    test.write_bytes(b"damaged")
    again = project.succeed("evaluate", "-S", "runtime.mlflow=false", "--out", str(tmp_path / "c"))
    assert again.output == before.output
