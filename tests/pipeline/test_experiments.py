"""`dvc exp run` in its three forms: all runs land in the project's own MLflow store, with their models."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from model_helpers import ROOT
from pipeline_helpers import Project, wait_until

pytestmark = pytest.mark.slow

MAX_MINUTES = 12


@pytest.fixture
def committed(project: Project) -> Project:
    project.commit()
    return project


def model_of(project: Project, run: Any) -> bytes:
    """Return the run's model file, fetched as a user of MLflow would."""
    assert run.info.status == "FINISHED"
    folder = project.root.parent / f"fetched-{run.info.run_id}"
    folder.mkdir()
    return Path(project.client().download_artifacts(run.info.run_id, "model/model.pth", str(folder))).read_bytes()


def names_of_experiments(project: Project) -> set[str]:
    return set(project.dvc("exp", "list", "--name-only").split())


def shown(project: Project) -> str:
    """Return the table of experiments, by each of the lines that README.md has for it."""
    commands = re.findall(r"dvc (exp show .*--drop '[^']*')", (ROOT / "README.md").read_text(encoding="utf-8"))
    tables = {project.run("dvc", *shlex.split(command), "--no-pager", COLUMNS="100").stdout for command in commands}
    (table,) = tables
    return table


def head_of(table: str) -> list[str]:
    return next(line for line in table.splitlines() if "Experiment" in line).split()


def test_an_experiment_in_the_workspace(committed: Project) -> None:
    committed.dvc("exp", "run", "--name", "turned", "-S", "model.position=rotary")
    _, run = committed.mlflow_runs()
    assert run.data.params["model.position"] == "rotary"
    assert run.data.tags["dvc.exp.name"] == "turned"
    assert model_of(committed, run) == (committed.root / "models/model.pth").read_bytes()
    assert "turned" in names_of_experiments(committed)
    table = shown(committed)
    assert head_of(table) == ["Experiment", "val.loss", "model.position"]
    assert "rotary" in table


def test_an_experiment_in_a_folder_that_is_deleted(committed: Project) -> None:
    before = committed.tree(ignore={"runs", "mlflow.db", "mlartifacts"})
    committed.dvc("exp", "run", "--temp", "--name", "apart", "-S", "train.seed=5")
    assert committed.tree(ignore={"runs", "mlflow.db", "mlartifacts"}) == before
    _, run = committed.mlflow_runs()
    assert run.data.tags["dvc.exp.name"] == "apart"
    assert run.data.params["train.seed"] == "5"
    assert "eval/val_loss" in run.data.metrics
    model = model_of(committed, run)
    committed.dvc("exp", "apply", "apart")
    assert (committed.root / "models/model.pth").read_bytes() == model


@pytest.mark.timeout(60 * (MAX_MINUTES + 3))
def test_a_queued_grid_with_two_at_a_time(committed: Project) -> None:
    committed.dvc("exp", "run", "--queue", "-S", "train.seed=1,2")
    committed.start_queue(jobs=2)

    def ended() -> bool:
        status = committed.dvc("queue", "status")
        assert "Failed" not in status, status + committed.dvc("queue", "logs", status.split()[0], status=None)
        return status.count("Success") == 2

    wait_until(ended, "the queue", pause=3, seconds=60 * MAX_MINUTES)
    _, *runs = committed.mlflow_runs()
    assert sorted(run.data.params["train.seed"] for run in runs) == ["1", "2"]
    assert {run.data.tags["dvc.exp.name"] for run in runs} == names_of_experiments(committed)
    assert len({model_of(committed, run) for run in runs}) == 2
    assert head_of(shown(committed)) == ["Experiment", "val.loss", "train.seed"]
