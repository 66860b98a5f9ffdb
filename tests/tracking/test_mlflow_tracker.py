"""The tracker with its helper process: what a run waits for, and what is left when one of the two dies."""

import shutil
import signal
import socket
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from filelock import FileLock, Timeout
from mlflow import MlflowClient
from mlflow_server import free_port, mlflow_server
from tracking_helpers import client, history, new_key, only_run, python, sync

from gptmodel.tracking.journal import Journal
from gptmodel.tracking.mlflow_tracker import attach, start_run
from gptmodel.tracking.tracker import NullTracker

TRAIN = """
import sys, time
from pathlib import Path
from gptmodel.tracking.mlflow_tracker import start_run
root, key, first, last, pause = Path(sys.argv[1]), sys.argv[2], *map(float, sys.argv[3:])
tracker = start_run(root, "exp", key, "name")
for step in range(int(first), int(last)):
    tracker.log_metrics({"loss": step / 10}, step)
    time.sleep(pause)
print("logged", "mlflow" in sys.modules, flush=True)
start = time.monotonic()
tracker.close("FINISHED")
print(f"{time.monotonic() - start:.2f} {tracker.problem}", flush=True)
"""


def losses(last: int) -> list[tuple[int, float]]:
    return [(step, step / 10) for step in range(last)]


def train(root: Path, key: str, first: int, last: int, **environment: str) -> tuple[float, float, str]:
    """Log some steps in another process; return how long `close` took, how long all took, and the problem."""
    start = time.monotonic()
    process = python(TRAIN, root, key, first, last, 0, **environment)
    output, _ = process.communicate(timeout=120)
    seconds = time.monotonic() - start
    assert process.returncode == 0
    logged, ended = output.splitlines()
    assert logged == "logged False"  # whatever MLflow does, it does not do it in the run's own process
    closing, problem = ended.split(" ", 1)
    return float(closing), seconds, problem


def wait_until(condition: object, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.1)


def senders(key: str) -> list[str]:
    """Return the processes that send a journal."""
    listing = subprocess.run(["ps", "axww", "-o", "command"], capture_output=True, text=True, check=True).stdout
    return [line for line in listing.splitlines() if "gptmodel.tracking.send_to_mlflow" in line and key in line]


@contextmanager
def silent_server() -> Iterator[str]:
    """A server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_a_run_and_its_evaluation(root: Path) -> None:
    tracker = start_run(root, "exp", new_key(), "name")
    tracker.log_params({"n_embd": 64, "beta1": None})
    for step in range(5):
        tracker.log_metrics({"loss": step / 10}, step)
    model = root / "model.pth"
    model.write_bytes(b"model")
    tracker.log_artifact(model, "model")
    tracker.flush()
    described = tracker.describe(wait=30)
    assert described["run_id"] == only_run(root).info.run_id
    assert only_run(root).info.status == "RUNNING"
    tracker.close("FINISHED")
    assert tracker.problem is None
    before = only_run(root)
    assert before.info.status == "FINISHED"
    assert before.data.params == {"n_embd": "64", "beta1": "None"}
    assert history(root, "loss") == losses(5)

    plots = root / "plots"
    (plots / "deep").mkdir(parents=True)
    (plots / "a.png").touch()
    (plots / "deep" / "b.png").touch()
    for hidden in (".gitignore", "deep/.gitignore", ".checkpoints/a.png"):  # DVC's, and those of other programs
        (plots / hidden).parent.mkdir(exist_ok=True)
        (plots / hidden).touch()
    added = attach(root, described)
    added.log_metrics({"eval/val_loss": 1.5}, step=0)
    added.log_artifact(plots, "plots")
    added.close(None)
    added.close(None)
    assert added.problem is None
    after = only_run(root)
    assert (after.info.status, after.info.end_time) == (before.info.status, before.info.end_time)
    assert history(root, "eval/val_loss") == [(0, 1.5)]
    artifacts = root / "mlartifacts" / after.info.run_id / "artifacts"
    names = sorted(path.relative_to(artifacts).as_posix() for path in artifacts.rglob("*") if path.is_file())
    assert names == ["model/model.pth", "plots/a.png", "plots/deep/b.png"]
    assert not senders(str(described["journal"]))


@pytest.mark.parametrize("when", ["before it is sent", "after it was sent"])
def test_a_record_that_is_removed_meanwhile_is_said_and_sent_all_the_same(root: Path, when: str) -> None:
    key = new_key()
    tracker = start_run(root, "exp", key, "name")
    for step in range(5):
        tracker.log_metrics({"loss": step / 10}, step)
    if when == "after it was sent":
        tracker.flush()
        wait_until(lambda: not Journal(root, key).pending)  # then nobody writes there
    shutil.rmtree(root / "runs")
    for step in range(5, 10):
        tracker.log_metrics({"loss": step / 10}, step)
    tracker.flush()
    with pytest.raises(Timeout), FileLock(Journal(root, key).alive_lock, timeout=0):
        pass
    tracker.close("FINISHED")
    assert tracker.problem == f"runs/tracking/{key} was removed while the run was tracked: it was written anew"
    assert history(root, "loss") == losses(10)
    assert only_run(root).info.status == "FINISHED"


def test_a_server_that_refuses_costs_seconds_and_nothing_else(root: Path) -> None:
    key = new_key()
    closing, seconds, problem = train(root, key, 0, 20, MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    assert closing < 12
    assert seconds < 30  # of which it waits less than 12
    assert "Connection refused" in problem
    assert f"runs/tracking/{key}" in problem
    sync(root)
    sync(root)
    assert history(root, "loss") == losses(20)
    assert only_run(root).info.status == "FINISHED"


def test_a_journal_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("in the way")
    tracker = start_run(tmp_path, "exp", new_key())
    tracker.log_metrics({"loss": 1.0}, 0)
    tracker.log_artifact(tmp_path / "runs")
    assert tracker.describe(0)["run_id"] is None
    tracker.close("FINISHED")
    assert "journal cannot be written" in str(tracker.problem)


def test_without_a_helper_process_the_journal_holds_the_run(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that cannot be started costs the sending only."""
    key = new_key()
    with monkeypatch.context() as patch:
        patch.setattr("sys.executable", str(root / "absent"))
        tracker = start_run(root, "exp", key, "name")
    tracker.log_metrics({"loss": 0.0}, 0)
    tracker.flush()
    assert tracker.describe()["run_id"] is None
    tracker.close("FINISHED")
    assert "helper process that sends it cannot be started" in str(tracker.problem)
    assert f"kept in runs/tracking/{key}, and `gptmodel sync` sends it later" in str(tracker.problem)
    sync(root)
    assert history(root, "loss") == losses(1)
    assert only_run(root).info.status == "FINISHED"


@pytest.mark.parametrize("run_json", [{}, {"journal": None}, {"journal": "../../etc"}], ids=str)
def test_a_model_without_a_run_is_not_tracked(tmp_path: Path, run_json: dict[str, str | None]) -> None:
    assert isinstance(attach(tmp_path, run_json), NullTracker)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_server_that_never_answers_costs_seconds_and_nothing_else(root: Path) -> None:
    key = new_key()
    with silent_server() as uri:
        closing, seconds, problem = train(root, key, 0, 20, MLFLOW_TRACKING_URI=uri)
    assert closing < 20
    assert seconds < 22
    assert "did not answer in time" in problem
    assert not senders(key)
    sync(root)
    assert history(root, "loss") == losses(20)


@pytest.mark.slow
def test_a_locked_database_costs_seconds_and_nothing_else(root: Path) -> None:
    key = new_key()
    holder = sqlite3.connect(root / "mlflow.db", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    closing, _, problem = train(root, key, 0, 20)
    assert closing < 12
    assert "database is locked" in problem
    holder.close()
    sync(root)
    assert history(root, "loss") == losses(20)


@pytest.mark.slow
def test_a_killed_run_is_marked_and_goes_on_in_the_same_run(root: Path) -> None:
    key = new_key()
    process = python(TRAIN, root, key, 0, 10_000, 0.02)
    journal = Journal(root, key)
    wait_until(lambda: journal.sent().offset > 1000)
    run_id = journal.run()["run_id"]
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_until(lambda: not senders(key))
    assert only_run(root).info.status == "KILLED"
    reached = len(history(root, "loss"))
    assert history(root, "loss") == losses(reached)
    assert reached > 5

    _, _, problem = train(root, key, reached - 4, reached + 20)
    assert problem == "None"
    assert history(root, "loss") == losses(reached + 20)
    assert (only_run(root).info.run_id, only_run(root).info.status) == (run_id, "FINISHED")


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.5, 2.0, 3.5, 5.0])
def test_killing_both_processes_at_any_time_loses_nothing(root: Path, seconds: float) -> None:
    key = new_key()
    process = python(TRAIN, root, key, 0, 10_000, 0.002)
    wait_until(lambda: Journal(root, key).size > 0)  # a busy machine takes its time to start it
    time.sleep(seconds)
    listing = subprocess.run(["ps", "axww", "-o", "pid,command"], capture_output=True, text=True, check=True).stdout
    lines = [line for line in listing.splitlines() if "tracking.send_to_mlflow" in line and key in line]
    helpers = [int(line.split()[0]) for line in lines]
    process.send_signal(signal.SIGKILL)
    for pid in helpers:
        subprocess.run(["kill", "-9", str(pid)], check=False)
    process.wait()
    wait_until(lambda: not senders(key))
    logged = sum(event["kind"] == "metrics" for event in Journal(root, key).read()[0])
    sync(root)
    assert history(root, "loss") == losses(logged)
    assert only_run(root).info.status == "KILLED"
    train(root, key, max(0, logged - 10), logged + 10)
    assert history(root, "loss") == losses(logged + 10)
    assert only_run(root).info.status == "FINISHED"


@pytest.mark.slow
def test_three_runs_at_once_make_one_store(tmp_path: Path) -> None:
    processes = [python(TRAIN, tmp_path, new_key(), 0, 10, 0) for _ in range(3)]
    for process in processes:
        process.communicate(timeout=120)
    sync(tmp_path)  # what a busy machine did not get done in time
    store = client(tmp_path)
    [experiment] = [each for each in store.search_experiments() if each.name == "exp"]
    runs = store.search_runs([experiment.experiment_id])
    assert [run.info.status for run in runs] == ["FINISHED"] * 3
    assert all(len(store.get_metric_history(run.info.run_id, "loss")) == 10 for run in runs)


@pytest.mark.slow
def test_a_run_also_sends_what_earlier_ones_could_not(root: Path) -> None:
    earlier, key = new_key(), new_key()
    train(root, earlier, 0, 5, MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    assert Journal(root, earlier).pending
    process = python(TRAIN, root, key, 0, 400, 0.02)
    output, _ = process.communicate(timeout=120)
    assert output.splitlines()[1].endswith("None")
    assert not Journal(root, earlier).pending


@pytest.mark.slow
def test_a_server_that_comes_late_gets_everything(tmp_path: Path, template: Path) -> None:
    root, key = tmp_path / "project", new_key()
    root.mkdir()
    port = free_port()
    train(root, key, 0, 10, MLFLOW_TRACKING_URI=f"http://127.0.0.1:{port}")
    database = shutil.copy(template, tmp_path / "server.db")
    with mlflow_server(tmp_path, port) as uri:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MLFLOW_TRACKING_URI", uri)
            assert "sent run" in sync(root)[0]
            model = root / "model.pth"
            model.write_bytes(b"model")
            tracker = attach(root, {"journal": key, "run_id": None, "experiment": "exp"})
            tracker.log_artifact(model, "model")
            tracker.close(None)
            assert tracker.problem is None
            assert not Journal(root, key).pending
        assert [file.read_bytes() for file in (tmp_path / "artifacts").rglob("model.pth")] == [b"model"]
    run_id = Journal(root, key).run()["run_id"]
    points = MlflowClient(tracking_uri=f"sqlite:///{database}").get_metric_history(run_id, "loss")
    assert sorted((point.step, point.value) for point in points) == losses(10)


def test_a_second_process_does_not_track_the_same_run(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gptmodel.tracking.mlflow_tracker.ALIVE_SECONDS", 0.2)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    key = new_key()
    first = start_run(root, "exp", key)
    second = start_run(root, "exp", key)
    assert "another process is tracking the same run" in str(second.problem)
    second.log_metrics({"loss": 1.0}, 0)
    second.close("FAILED")
    assert Journal(root, key).last_status() == "RUNNING"
    first.close("KILLED")
    assert Journal(root, key).last_status() == "KILLED"
    size = Journal(root, key).size
    first.log_metrics({"loss": 1.0}, 1)  # too late: it goes nowhere, and hurts nobody
    assert Journal(root, key).size == size
