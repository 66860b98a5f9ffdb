"""A project that was copied or moved: its artifacts are its own wherever it stands, and the first one is left alone."""

import shutil
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from projects import Project, new_project, sha256
from tracking_helpers import client, finish_journal, new_key, only_run, start_journal, sync

from gptmodel.errors import GptModelError
from gptmodel.tracking.database import HOME_TAG, settle
from gptmodel.tracking.journal import journals
from gptmodel.tracking.journal_writer import JournalWriter
from gptmodel.tracking.mlflow_store import MlflowStore


def run_with_file(root: Path, content: str = "model") -> str:
    """Send a run with an artifact; return its id."""
    writer = start_journal(root, new_key())
    file = root / "model.pth"
    file.write_text(content)
    writer.file(file, "model")
    finish_journal(writer)
    sync(root)
    return str(writer.journal.run()["run_id"])


def download(root: Path, run_id: str, folder: Path) -> str:
    """Fetch a run's model through MLflow."""
    folder.mkdir(exist_ok=True)
    return Path(client(root).download_artifacts(run_id, "model/model.pth", str(folder))).read_text()


def contents(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def copied(root: Path, to: Path) -> Path:
    shutil.copytree(root, to, symlinks=True)  # as `cp -r`
    return to


def every_text(database: Path) -> list[str]:
    """All that stands in the columns of texts."""
    with sqlite3.connect(database) as connection:
        connection.text_factory = bytes
        tables = [row[0].decode() for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        rows = [row for table in tables for row in connection.execute(f"SELECT * FROM {table}").fetchall()]
    return [value.decode(errors="replace") for row in rows for value in row if isinstance(value, bytes)]


@pytest.mark.parametrize("name", ["copy", "Große Übung", "#1 50%2 a'b"])
def test_a_copy_writes_below_itself(root: Path, tmp_path: Path, name: str) -> None:
    first = run_with_file(root)
    copy = copied(root, tmp_path / name)
    before = contents(root)
    second = run_with_file(copy, "another")
    assert contents(root) == before
    assert (copy / "mlartifacts" / second / "artifacts" / "model" / "model.pth").read_text() == "another"
    shutil.rmtree(root)
    assert download(copy, first, tmp_path / "downloads") == "model"
    assert download(copy, second, tmp_path / "downloads") == "another"

    inside = copied(copy, copy / "again")  # a copy of the copy, within it
    third = run_with_file(inside, "third")
    assert not (copy / "mlartifacts" / third).exists()
    assert [download(inside, run, tmp_path / "downloads") for run in (first, second, third)] == [
        "model",
        "another",
        "third",
    ]


def test_nothing_that_is_stored_names_a_folder_after_a_move(root: Path, tmp_path: Path) -> None:
    run_id = run_with_file(root)
    writer = JournalWriter(journals(root)[0], again=True)
    moved = root.rename(tmp_path / "moved")
    writer.metrics({"eval/val_loss": 1.5}, 0, 1)
    writer.close()
    sync(moved)
    assert download(moved, run_id, tmp_path / "downloads") == "model"
    run = only_run(moved)
    assert run.data.metrics["eval/val_loss"] == 1.5
    for text in every_text(moved / "mlflow.db"):
        assert f"{root}/" not in text
        assert f"{root.as_uri()}/" not in text
    for name, content in contents(moved / "runs").items():
        assert str(root).encode() not in content, name


def test_models_of_the_registry_move_along(root: Path, tmp_path: Path) -> None:
    run_id = run_with_file(root)
    store = client(root)
    store.create_registered_model("gpt")
    store.create_model_version("gpt", f"{store.get_run(run_id).info.artifact_uri}/model", run_id)
    logged = store.create_logged_model(store.get_run(run_id).info.experiment_id, name="logged", source_run_id=run_id)
    moved = root.rename(tmp_path / "moved")
    MlflowStore(moved).connect(lambda *_: None)
    store = client(moved)
    below = f"{moved.as_uri()}/mlartifacts/"
    assert store.get_model_version_download_uri("gpt", "1").startswith(below)
    assert store.get_model_version("gpt", "1").source.startswith(below)
    assert store.get_logged_model(logged.model_id).artifact_location.startswith(below)


def test_artifacts_elsewhere_on_purpose_stay_there(root: Path, tmp_path: Path) -> None:
    run_with_file(root)
    places = {"disk": (tmp_path / "disk" / "mlartifacts").as_uri(), "bucket": "s3://bucket/mlartifacts"}
    numbers = {name: client(root).create_experiment(name, place) for name, place in places.items()}
    neighbour = client(root).create_experiment("neighbour", (tmp_path / "project2" / "mlartifacts").as_uri())
    moved = root.rename(tmp_path / "moved")
    run_with_file(moved)
    store = client(moved)
    assert {name: store.get_experiment(number).artifact_location for name, number in numbers.items()} == places
    assert store.get_experiment(neighbour).artifact_location == (tmp_path / "project2" / "mlartifacts").as_uri()
    assert store.get_experiment_by_name("exp").artifact_location == (moved / "mlartifacts").as_uri()


def test_a_store_of_an_older_version_that_was_moved(root: Path, tmp_path: Path) -> None:
    """It does not say where it was at home, but its experiments do."""
    run_id = run_with_file(root)
    client(root).delete_experiment_tag("0", HOME_TAG)
    moved = root.rename(tmp_path / "moved")
    run_with_file(moved, "another")
    assert download(moved, run_id, tmp_path / "downloads") == "model"


def test_a_database_of_two_projects_stays_as_it_is(root: Path, tmp_path: Path) -> None:
    run_id = run_with_file(root)
    location = client(root).get_run(run_id).info.artifact_uri
    for share in (Path.symlink_to, Path.hardlink_to):
        other = tmp_path / share.__name__
        other.mkdir()
        share(other / "mlflow.db", root / "mlflow.db")
        settle(other / "mlflow.db", other)
        settle(root / "mlflow.db", root)
        assert client(root).get_run(run_id).info.artifact_uri == location
        assert client(other).get_run(run_id).info.artifact_uri == location


@pytest.mark.parametrize(
    ("uri", "in_project"),
    [
        ("postgresql://user:secret@127.0.0.1:9/runs", True),
        ("mysql+pymysql://127.0.0.1:9/runs", True),
        ("sqlite:////elsewhere/runs.db", True),
        ("http://127.0.0.1:9", False),
        ("https://runs.example.org", False),
        ("databricks", False),
        ("databricks://profile", False),
    ],
)
def test_where_the_artifacts_of_a_new_experiment_go(
    root: Path, monkeypatch: pytest.MonkeyPatch, uri: str, in_project: bool
) -> None:
    """A server knows itself; beside a database they lie in the project, and not in the folder of the day."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    store, calls = MlflowStore(root), []

    class Client:
        def get_experiment_by_name(self, _name: str) -> None:
            return None

        def create_experiment(self, _name: str, location: str | None) -> str:
            calls.append(location)
            return "1"

        def create_run(self, *_: Any) -> Any:
            return type("Run", (), {"info": type("Info", (), {"run_id": "1"})})

    monkeypatch.setattr(store, "_client", Client())
    monkeypatch.setattr(store, "_keep_files_here", lambda _run_id: None)  # asks a database, and tests/services has one
    store.create_run(new_key(), "exp", None, 0, imported=False)
    assert calls == [(root / "mlartifacts").as_uri() if in_project else None]


@pytest.fixture
def shared(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, MlflowClient]:
    """A second project, and a database elsewhere in which the first project made the experiment."""
    uri = f"sqlite:///{tmp_path}/team.db"
    (root / "mlflow.db").rename(tmp_path / "team.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    run_with_file(root, "first")
    (tmp_path / "second").mkdir()
    return tmp_path / "second", MlflowClient(tracking_uri=uri)


def test_in_a_database_of_a_team_files_lie_where_they_were_made(
    root: Path, shared: tuple[Path, MlflowClient], tmp_path: Path
) -> None:
    second, store = shared
    run_id = run_with_file(second, "second")
    assert (second / "mlartifacts" / run_id / "artifacts" / "model" / "model.pth").read_text() == "second"
    assert not (root / "mlartifacts" / run_id).exists()
    assert Path(store.download_artifacts(run_id, "model/model.pth", str(tmp_path))).read_text() == "second"


def test_a_kill_before_the_files_have_their_place(
    shared: tuple[Path, MlflowClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    second, store = shared
    with monkeypatch.context() as patch:

        def killed(*_: object) -> None:
            raise OSError("killed")

        patch.setattr(MlflowStore, "_keep_files_here", killed)
        with pytest.raises(GptModelError, match="killed"):
            run_with_file(second)
    sync(second)
    run_id = journals(second)[0].run()["run_id"]
    folder = second / "mlartifacts" / run_id / "artifacts"
    assert store.get_run(run_id).info.artifact_uri == folder.as_uri()
    assert (folder / "model" / "model.pth").is_file()


def test_a_bucket_of_a_team_stays_the_place_and_that_of_a_server_is_none(shared: tuple[Path, MlflowClient]) -> None:
    second, client = shared
    store = MlflowStore(second)
    store.connect(lambda *_: None)
    places = {}
    for name, place in {"bucket": "s3://bucket/mlartifacts", "server": "mlflow-artifacts:/7"}.items():
        client.create_experiment(name, place)
        run_id = store.create_run(new_key(), name, None, 0, imported=False)
        places[name] = client.get_run(run_id).info.artifact_uri.replace(run_id, "RUN")
    here = (second / "mlartifacts" / "RUN" / "artifacts").as_uri()
    assert places == {"bucket": "s3://bucket/mlartifacts/RUN/artifacts", "server": here}


def test_a_folder_as_a_store(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    run_id = run_with_file(root)
    assert (root / "mlartifacts" / run_id / "artifacts" / "model" / "model.pth").read_text() == "model"


def test_a_database_elsewhere_leaves_nothing_in_the_folder_of_the_day(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/other.db")
    shutil.copy(root / "mlflow.db", tmp_path / "other.db")
    run_id = run_with_file(root)
    assert (root / "mlartifacts" / run_id / "artifacts" / "model" / "model.pth").read_text() == "model"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.db", "project"]


@pytest.mark.thorough
def test_a_whole_project_is_copied_and_moved_by_the_command_line(tmp_path: Path, template: Path) -> None:
    """With a registered model; copied by `cp -r`, trained in and sent; then moved by `mv`, and all of it is found."""
    first = new_project(tmp_path / "first")
    shutil.copy(template, first.folder)
    first.succeed("train")
    first.succeed("register")
    before = contents(first.folder)

    copy = Project(tmp_path / "copy")
    subprocess.run(["cp", "-r", first.folder, copy.folder], check=True)
    copy.succeed("train", "-S", "train.seed=3")
    copy.succeed("sync")
    assert contents(first.folder) == before

    moved = Project(tmp_path / "moved")
    subprocess.run(["mv", copy.folder, moved.folder], check=True)
    moved.succeed("sync")
    store = client(moved.folder)
    models = set()
    for run in store.search_runs([each.experiment_id for each in store.search_experiments()]):
        assert run.info.artifact_uri.startswith(f"{moved.folder.as_uri()}/mlartifacts/")
        (tmp_path / run.info.run_id).mkdir()
        file = store.download_artifacts(run.info.run_id, "model/model.pth", str(tmp_path / run.info.run_id))
        models.add(sha256(Path(file)))
    assert models == {sha256(first.model), sha256(moved.model)}
    assert len(models) == 2
    former = [str(project.folder) for project in (first, copy)]
    files = {name: content for name, content in contents(moved.folder).items() if name != "mlflow.db"}
    texts = [*every_text(moved.folder / "mlflow.db"), *(content.decode(errors="replace") for content in files.values())]
    assert not [text[:200] for text in texts if any(folder in text for folder in former)]
