"""A training that is killed or stopped at any time goes on, and ends with the same bytes and one whole MLflow run."""

import os
import signal

import pytest
from pipeline_helpers import Project, kill_group, wait_until

SNAPSHOTS = {"runtime.snapshot_seconds": 0.01}


def undisturbed(project: Project, finished: Project) -> None:
    """Check that a run that was interrupted left what one without interruption leaves."""
    assert project.sha256("models/model.pth") == finished.sha256("models/model.pth")
    (run,) = project.mlflow_runs()
    assert run.info.status == "FINISHED"
    rows = project.history()
    assert [row["iteration"] for row in rows] == [row["iteration"] for row in finished.history()]
    for key in ("train_loss", "val_loss", "learning_rate"):
        assert project.points(run, key) == [(int(row["iteration"]), float(row[key])) for row in rows]
    assert project.snapshots() == []


@pytest.mark.slow
def test_a_killed_repro_goes_on_where_it_was(project: Project, finished: Project) -> None:
    project.forget_what_was_made()
    project.configure(SNAPSHOTS)
    for _ in range(2):
        kill_group(project.train_until_snapshot("dvc", "repro", "train"))
        assert not (project.root / "models/model.pth").exists()
    output = project.dvc("repro", "train")
    assert "continued from iteration" in output
    undisturbed(project, finished)


@pytest.mark.slow
def test_a_stopped_training_saves_its_state_and_says_so(project: Project, finished: Project) -> None:
    project.forget_what_was_made()
    project.configure(SNAPSHOTS)
    project.dvc("repro", "prepare")
    runs = set()
    for signum, status in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
        process = project.train_until_snapshot("python", "-m", "stages.train")
        process.send_signal(signum)
        output = process.communicate(timeout=60)[0]
        assert process.returncode == status
        assert "run the same command to go on" in output
        assert "Traceback" not in output
        (run,) = project.mlflow_runs()
        assert run.info.status == "KILLED"
        runs.add(run.info.run_id)
        assert not (project.root / "models/model.pth").exists()
    assert "continued from iteration" in project.gptmodel("train").stderr
    runs.add(project.mlflow_runs()[0].info.run_id)
    assert len(runs) == 1
    undisturbed(project, finished)


@pytest.mark.slow
def test_ctrl_c_stops_a_repro_in_good_order(project: Project, finished: Project) -> None:
    project.forget_what_was_made()
    project.configure(SNAPSHOTS)
    process = project.train_until_snapshot("dvc", "repro", "train")
    os.killpg(process.pid, signal.SIGINT)
    assert "run the same command to go on" in process.communicate(timeout=60)[0]
    assert "continued from iteration" in project.dvc("repro", "train")
    undisturbed(project, finished)


@pytest.mark.slow
def test_the_same_training_twice_at_once_is_refused(project: Project) -> None:
    project.forget_what_was_made()
    project.configure(SNAPSHOTS)
    project.dvc("repro", "prepare")
    process = project.train_until_snapshot("python", "-m", "stages.train", "-S", "train.max_iters=1000000")
    second = project.gptmodel("train", "-S", "train.max_iters=1000000", status=2)
    assert "the same training is already running in another process" in second.stderr
    assert "Traceback" not in second.stderr
    process.terminate()
    process.communicate(timeout=60)
    wait_until(lambda: project.mlflow_runs()[0].info.status == "KILLED", "the end of the run")
