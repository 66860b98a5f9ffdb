"""An MLflow server with a login, on PostgreSQL and S3: trainings arrive whole, whatever happens to them or to it."""

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from attempts import Attempt
from mlflow import MlflowClient
from projects import Project, new_project, points, sha256
from real_servers import PASSWORD, MlflowServer, Postgres
from recipes import recipe

pytestmark = pytest.mark.services
WRONG = "another-password-of-24"


@pytest.fixture
def login(running: MlflowServer, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What the environment of a command has to have, which that of this process now has too."""
    for name, value in running.login.items():
        monkeypatch.setenv(name, value)
    return running.login


@pytest.fixture(scope="module")
def running(mlflow_server: MlflowServer) -> Iterator[MlflowServer]:
    """The server, which answers."""
    with mlflow_server.running():
        yield mlflow_server


def held(projects: list[Project], marks: list[Path], login: dict[str, str]) -> list[Attempt]:
    """Return trainings that wait in the middle until their file in `marks` is gone, and whose runs the server has."""
    moments = [{"place": "gptmodel.training.step:training_step", "call": 12, "mark": str(mark)} for mark in marks]
    attempts = [
        project.start("train", injuries={"wait_inside": moment}, **login)
        for project, moment in zip(projects, moments, strict=True)
    ]
    end = time.monotonic() + 180
    for project, mark, attempt in zip(projects, marks, attempts, strict=True):
        while not (mark.exists() and project.journals and project.journals[0].run()):
            assert attempt.status is None, attempt.error
            assert time.monotonic() < end, attempt.said("stderr")
            attempt.listen(0.1)
    return attempts


def warnings(attempt: Attempt) -> list[str]:
    """Return what a command that succeeded warned of; a server on a busy machine may be too slow."""
    assert attempt.wait() == 0, attempt.error
    lines = [line for line in attempt.error.splitlines() if line.startswith("warning: ")]
    return [line for line in lines if "it did not answer in time" not in line]


def arrived(project: Project, server: MlflowServer) -> Any:
    """Return the project's only run, of which the server's database has to have each point once."""
    (journal,) = project.journals
    assert not journal.pending
    client, run_id = MlflowClient(tracking_uri=server.uri), journal.run()["run_id"]
    run = client.get_run(run_id)  # its points over HTTP take seconds: each request has its password hashed
    sent = server.database.asked("mlflow", f"select key, step from metrics where run_uuid = '{run_id}'")
    assert {key for key, _ in sent} == {*run.data.metrics}
    assert set(Counter(sent).values()) == {1}
    assert {*points(journal)} <= {*sent}
    same_journal = f"tags.`gptmodel.journal` = '{journal.key}'"
    assert len(client.search_runs([run.info.experiment_id], same_journal)) == 1
    assert run.info.status == "FINISHED"
    return run


def hold_no_password(*projects: Project) -> None:
    """No message and no file of theirs has a password in it."""
    for project in projects:
        said = [attempt.output + attempt.error for attempt in project.attempts]
        files = [path for path in project.folder.rglob("*") if path.is_file()]
        for content in (*(text.encode() for text in said), *(path.read_bytes() for path in files)):
            assert PASSWORD.encode() not in content
            assert WRONG.encode() not in content


def test_a_training_an_evaluation_and_samples(
    running: MlflowServer, login: dict[str, str], tmp_path: Path, alone: Project
) -> None:
    """With a wrong password nothing but one line is lost; what came later with the right one is in the same run."""
    project, uri = new_project(tmp_path / "project", sample={"prompt": "a"}), running.uri
    commands = recipe("An MLflow server with a login", {}, block=3).splitlines()[2:]
    train, evaluate, sample, sync = [command.removeprefix("gptmodel ") for command in commands]
    (warning,) = warnings(project.start(train, **login | {"MLFLOW_TRACKING_PASSWORD": WRONG}))
    assert warning.startswith(f"warning: MLflow at {uri}: ")
    assert "You are not authenticated" in warning
    assert warning.endswith("and `gptmodel sync` sends it later")
    assert project.outcome() == alone.outcome()

    in_the_address = {"MLFLOW_TRACKING_URI": uri.replace("http://", f"http://admin:{PASSWORD}@")}
    assert warnings(project.start(evaluate, **in_the_address)) == []
    assert warnings(project.start(sample, **login)) == []
    project.succeed(sync, **login)
    run = arrived(project, running)
    assert {"eval/val_loss", "val_loss", "final/seconds"} <= {*run.data.metrics}
    assert run.data.params["model.n_embd"] == "16"
    files = {path.rpartition("/")[2] for path in running.store.files(f"mlflow/{run.info.experiment_id}/")}
    assert {"model.pth", "samples.txt", "evaluate.json", "loss_curves.png"} <= files
    model = MlflowClient(tracking_uri=uri).download_artifacts(run.info.run_id, "model/model.pth", str(tmp_path))
    assert sha256(Path(model)) == sha256(project.model)
    hold_no_password(project)


@pytest.mark.slow
def test_two_clones_at_once_kills_and_a_server_that_is_killed(
    running: MlflowServer, login: dict[str, str], tmp_path: Path, alone: Project
) -> None:
    """One is killed and run again, the server is killed under both, one ends meanwhile and one when it is back."""
    names = "killed", "outlives", "waits"
    projects = [new_project(tmp_path / name, runtime={"experiment": "all at once"}) for name in names]
    marks = [tmp_path / f"mark-{name}" for name in names]
    attempts = held(projects, marks, login)
    attempts[0].signal(9)
    attempts[0].wait()
    assert attempts[0].killed
    assert warnings(projects[0].start("train", **login)) == []
    running.kill()
    marks[1].unlink()
    (warning,) = warnings(attempts[1])
    assert warning.startswith(f"warning: MLflow at {running.uri}: ")
    assert warning.endswith("and `gptmodel sync` sends it later")
    with running.running():
        marks[2].unlink()
        assert warnings(attempts[2]) == []
        syncs = [project.start("sync", **login) for project in projects]
        for project, sync in zip(projects, syncs, strict=True):
            assert sync.wait() == 0, sync.error
            arrived(project, running)
            assert project.outcome() == alone.outcome()
        hold_no_password(*projects)


def test_a_database_without_a_server(database: Postgres, tmp_path: Path, alone: Project) -> None:
    """Two clones share one, whose experiment is one of them's; the files of a run stay in its own project."""
    database.create("direct")
    address = database.address("direct")
    projects = [new_project(tmp_path / name) for name in ("one", "other")]
    (wrong,) = warnings(projects[0].start("train", MLFLOW_TRACKING_URI=database.address("direct", WRONG)))
    assert wrong.startswith(f"warning: MLflow at {address.replace(f'mlflow:{PASSWORD}@', '')}: ")
    assert "password authentication failed" in wrong
    commands = recipe("PostgreSQL without a server", {}).splitlines()
    train = commands[-1].removeprefix("gptmodel ")
    for attempt in [project.start(train, MLFLOW_TRACKING_URI=address) for project in projects]:
        attempt.wait()
    syncs = [project.start("sync", MLFLOW_TRACKING_URI=address) for project in projects]
    for project, sync in zip(projects, syncs, strict=True):
        assert sync.wait() == 0, sync.error
        assert project.outcome() == alone.outcome()
        for journal in project.journals:
            run_id = journal.run()["run_id"]
            rows = database.asked("direct", f"select artifact_uri, status from runs where run_uuid = '{run_id}'")
            folder = project.folder / "mlartifacts" / run_id / "artifacts"
            assert rows == [(folder.as_uri(), "FINISHED")]
            assert sha256(folder / "model" / "model.pth") == sha256(project.model)
    hold_no_password(*projects)
    double = "select run_uuid, key, step from metrics group by 1, 2, 3 having count(*) > 1"
    assert database.asked("direct", double) == []
    assert len(database.asked("direct", "select run_uuid from runs")) == 3
