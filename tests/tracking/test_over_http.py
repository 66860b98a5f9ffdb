"""A whole training whose MLflow is a server: it ends quietly, and the server has all of it."""

import time
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow_server import free_port, mlflow_server
from projects import Project, new_project, points, sha256
from tracking_helpers import new_key, python

pytestmark = pytest.mark.thorough


def test_a_training_tracked_over_http(tmp_path: Path, alone: Project) -> None:
    """MLflow prints to standard output there, and the helper process says over a pipe how far it is: not the same."""
    project, mark = new_project(tmp_path / "project"), tmp_path / "mark"
    moment = {"place": "gptmodel.training.step:training_step", "call": 12, "mark": str(mark)}
    with mlflow_server(tmp_path, free_port()) as uri:
        attempt = project.start("train", injuries={"wait_inside": moment}, MLFLOW_TRACKING_URI=uri)
        while not mark.exists():
            attempt.listen(0.05)
        end = time.monotonic() + 90
        while not project.journals[0].run():  # importing MLflow takes as long as the machine is busy
            assert time.monotonic() < end
            time.sleep(0.1)
        mark.unlink()
        assert attempt.wait() == 0, attempt.error
        (line,) = attempt.error.splitlines()
        assert line.startswith("training 3,")
        assert project.outcome() == alone.outcome()
        (journal,) = project.journals
        assert not journal.pending
        assert "View run" in (journal.folder / "sender.log").read_text(encoding="utf-8")

        client, run_id = MlflowClient(tracking_uri=uri), journal.run()["run_id"]
        run = client.get_run(run_id)
        assert run.info.status == "FINISHED"
        assert run.data.params["model.n_embd"] == "16"
        keys = {key for key, _ in points(journal)}
        stored = [(key, point.step, point.value) for key in keys for point in client.get_metric_history(run_id, key)]
        assert {(key, step): value for key, step, value in stored} == points(journal)
        assert len(stored) == len(points(journal))
        model = Path(client.download_artifacts(run_id, "model/model.pth", str(tmp_path)))
        assert sha256(model) == sha256(project.model)

        lines = project.succeed("register", MLFLOW_TRACKING_URI=uri).output.splitlines()[1:]
        assert lines == ["import mlflow", 'model = mlflow.pyfunc.load_model("models:/gptmodel@champion")']
        assert " is already run " in project.succeed("register", MLFLOW_TRACKING_URI=uri).output
        number = client.get_model_version_by_alias("gptmodel", "champion").source.removeprefix("models:/")
        folder = tmp_path / "artifacts" / "1" / "models" / number / "artifacts"
        assert sha256(folder / "data" / "model.pth") == sha256(project.model)


PRINTING = """
import sys
from pathlib import Path
from gptmodel.tracking.mlflow_tracker import start_run
tracker = start_run(Path(sys.argv[1]), "exp", sys.argv[2], "name")
tracker.log_metrics({"loss": 1.0}, 0)
tracker.close("FINISHED")
print(tracker.problem)
"""
NOISY = """
print("hello from a library", flush=True)
raise RuntimeError("no MLflow here")
"""


def test_what_a_library_prints_is_not_taken_for_what_the_helper_process_says(root: Path, tmp_path: Path) -> None:
    """Whatever prints there, and however it fails: here a library of MLflow's name that prints and fails."""
    (tmp_path / "mlflow.py").write_text(NOISY, encoding="utf-8")
    key = new_key()
    process = python(PRINTING, root, key, PYTHONPATH=f"{Path(__file__).parents[2]}:{tmp_path}")
    output, _ = process.communicate(timeout=60)
    assert "no MLflow here" in output
    assert "`gptmodel sync` sends it later" in output
    log = root / "runs" / "tracking" / key / "sender.log"
    assert "hello from a library" in log.read_text(encoding="utf-8")
