"""A whole training while MLflow is out of order; tests/tracking has the same for the tracker alone, and more of it."""

import shutil
import socket
import time
from pathlib import Path

import pytest
from attempts import Attempt
from mlflow_server import free_port, mlflow_server
from projects import Project, new_project, points, points_in_store

LONGER = {"train": {"max_iters": 400, "eval_interval": 20}, "runtime": {"snapshot_seconds": 30}}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return new_project(tmp_path / "project")


def check_after_sync(project: Project, attempt: Attempt, alone: Project) -> None:
    """The training is the undisturbed one, the user was told of the mend, and the mend mends."""
    assert attempt.status == 0
    assert project.outcome() == alone.outcome()
    (warning,) = [line for line in attempt.error.splitlines() if line.startswith("warning: MLflow")]
    assert warning.endswith("and `gptmodel sync` sends it later")
    assert "sent run" in project.succeed("sync").output
    assert "nothing to send" in project.succeed("sync").output
    assert points_in_store(project.folder) == (["FINISHED"], points(alone.journals[0]))


def test_runs_is_removed_while_a_training_runs(project: Project, alone: Project, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    moment = {"place": "gptmodel.training.step:training_step", "call": 12, "mark": str(mark)}
    attempt = project.start("train", injuries={"wait_inside": moment})
    while not mark.exists():
        attempt.listen(0.05)
    shutil.rmtree(project.folder / "runs")
    mark.unlink()
    assert attempt.wait() == 0, attempt.error
    assert project.outcome() == alone.outcome()
    assert " was removed while the run was tracked: it was written anew" in attempt.error
    assert "Traceback" not in attempt.error
    assert points_in_store(project.folder) == (["FINISHED"], points(alone.journals[0]))
    assert "nothing to send" in project.succeed("sync").output


@pytest.mark.slow
def test_a_server_that_refuses(project: Project, alone: Project) -> None:
    attempt = project.run("train", MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    assert attempt.seconds < 25
    check_after_sync(project, attempt, alone)


@pytest.mark.slow
def test_a_server_that_never_answers(project: Project, alone: Project) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        uri = f"http://127.0.0.1:{server.getsockname()[1]}"
        attempt = project.run("train", MLFLOW_TRACKING_URI=uri)
    assert attempt.seconds < 40  # the import of MLflow included
    check_after_sync(project, attempt, alone)


@pytest.mark.slow
def test_a_server_that_dies_in_the_middle(tmp_path: Path) -> None:
    project = new_project(tmp_path / "project", **LONGER)
    alone = new_project(tmp_path / "alone", **LONGER)
    alone.succeed("train", injuries={"journal_only": {}})
    with mlflow_server(tmp_path, free_port()) as uri:
        mark = tmp_path / "mark"
        moment = {"place": "gptmodel.training.step:training_step", "call": 200, "mark": str(mark)}
        attempt = project.start("train", injuries={"wait_inside": moment}, MLFLOW_TRACKING_URI=uri)
        while not mark.exists():
            attempt.listen(0.05)
        end = time.monotonic() + 60
        while project.journals[0].sent().offset == 0 and time.monotonic() < end:  # until it has the first half
            time.sleep(0.1)
        assert project.journals[0].run()["run_id"]
    mark.unlink()
    assert attempt.wait() == 0
    assert "gptmodel sync" in attempt.error
    assert project.outcome() == alone.outcome()
    project.succeed("sync")  # into the project's own store: it gets all there is
    assert points_in_store(project.folder) == (["FINISHED"], points(alone.journals[0]))
