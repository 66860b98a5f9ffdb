"""`gptmodel register` in a real store, and what is loaded from there where the project is not."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import mlflow
import pytest
from attempts import ROOT
from made_once import made_once
from mlflow import MlflowClient
from projects import Project
from test_architecture import OUTSIDE
from tracking_helpers import CLEAN, client, only_run, sync

import gptmodel
from gptmodel import served_model
from gptmodel.errors import CheckpointError, ConfigError, GptModelError
from gptmodel.tracking.registry import Served, check_names, register, run_called, run_of_model
from stages.contenders import find
from stages.options import _model_file

pytestmark = pytest.mark.thorough

LOAD = """
import json, pickle, sys

def refuse(*_arguments, **_settings):
    raise AssertionError("unpickled")

pickle.load = pickle.loads = pickle.Unpickler = refuse
import gptmodel.served_model as other  # what the copy needs, before MLflow brings the rest
libraries = sorted({name.partition(".")[0] for name in sys.modules})
for name in [name for name in sys.modules if name.partition(".")[0] == "gptmodel"]:
    del sys.modules[name]
sys.path.remove(sys.argv[2])
import mlflow, pandas
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model("models:/letters@best")
import gptmodel
settings = {"max_new_tokens": 12, "temperature": 0.5, "top_k": 5, "stop": ["j"], "seed": 3}
prompts = ["ab", "c"]
texts = [model.predict(form, params=settings) for form in (prompts, pandas.Series(prompts), pandas.DataFrame(prompts))]
errors = []
for prompt in ("a b!", ""):
    try:
        model.predict([prompt])
    except Exception as error:
        errors.append(f"{type(error).__name__}: {error}")
print(json.dumps([gptmodel.__file__, libraries, texts, model.predict("a", params={"max_new_tokens": 4}), errors]))
"""


@pytest.fixture(scope="module")
def registered(alone: Project, template: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, str]:
    """A project whose model was registered three times, the last time as something else, and what was printed."""

    def make(folder: Path) -> None:
        shutil.copytree(alone.folder, folder / "project")
        shutil.copy(template, folder / "project")
        sync(folder / "project")
        project = Project(folder / "project")
        (folder / "before.json").write_text(facts(project))
        first = project.succeed("register", "--name", "letters", "--alias", "best")
        again = project.succeed("register", "--name", "letters", "--alias", "best")
        served = Served(served_model.__name__, served_model.SETTINGS, [*served_model.LIBRARIES, "typer"])
        other = register(project.folder, run_id(project), served, "letters", "best")
        assert (other.version, other.former, other.anew) == ("2", "1", True)
        (folder / "said.json").write_text(json.dumps([first.output, first.error, again.output]))

    folder = made_once(tmp_path_factory, "registered", make)
    return Project(folder / "project"), (folder / "said.json").read_text()


def run_id(project: Project) -> str:
    return str(only_run(project.folder).info.run_id)


def facts(project: Project) -> str:
    """All that the store says of the project's run but the models that it made."""
    run, store = only_run(project.folder), client(project.folder)
    points = {key: [str(point) for point in store.get_metric_history(run.info.run_id, key)] for key in run.data.metrics}
    return str((vars(run.info), run.data.params, run.data.tags, points))


def logged(project: Project) -> Any:
    """The model that MLflow keeps for the first version."""
    store = client(project.folder)
    return store.get_logged_model(store.get_model_version("letters", "1").source.removeprefix("models:/"))


def test_it_says_what_it_registered_and_the_lines_that_load_it(registered: tuple[Project, str]) -> None:
    project, said = registered
    output, note, again = json.loads(said)
    version, *lines = output.splitlines()
    assert version.startswith("letters version 1 is run train-")
    assert version.endswith(f"({run_id(project)}); alias best")
    assert note == "registering takes some seconds ...\n"
    assert lines == [
        "import mlflow",
        f"mlflow.set_tracking_uri('sqlite:///{project.folder}/mlflow.db')",
        'model = mlflow.pyfunc.load_model("models:/letters@best")',
    ]
    assert again == output.replace("letters version 1 is run", "letters version 1 is already run")
    assert client(project.folder).get_model_version_by_alias("letters", "best").version == 2


def test_the_run_stays_as_it_was_and_the_model_has_its_last_metrics(registered: tuple[Project, str]) -> None:
    project, _ = registered
    assert facts(project) == (project.folder.parent / "before.json").read_text()
    model = logged(project)
    assert model.source_run_id == run_id(project)
    assert model.params["model.n_embd"] == "16"
    assert str(model.status) == "READY"
    metrics = json.loads((project.folder / "metrics" / "train.json").read_text())
    values = {metric.key: (metric.value, metric.step) for metric in model.metrics}
    assert values["val_loss"] == (pytest.approx(metrics["val_loss"]), 24)


def test_it_lies_among_the_artifacts_and_holds_no_pickle(registered: tuple[Project, str]) -> None:
    project, _ = registered
    folder = Path(logged(project).artifact_location.removeprefix("file://"))
    assert folder.is_relative_to(project.folder / "mlartifacts" / "models")
    assert not (project.folder / "mlruns").exists()
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {"", ".yaml", ".txt", ".pth", ".py", ".html", ".css", ".js"}
    assert all(path.read_bytes()[:1] != b"\x80" for path in files)
    assert "pickle" not in (folder / "MLmodel").read_text()
    assert (folder / "code" / "gptmodel" / "served_model.py").is_file()
    assert (folder / "data" / "model.pth").read_bytes() == project.model.read_bytes()


def test_the_projects_own_commands_take_it_by_its_name(
    registered: tuple[Project, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, _ = registered
    monkeypatch.chdir(project.folder)
    names = ("models:/letters@best", "models:/letters/1", f"runs:/{run_id(project)}")
    for name in names:
        assert gptmodel.load(name).generate("a", max_new_tokens=3, seed=1)
        assert _model_file(Path(name)).read_bytes() == project.model.read_bytes()
        assert find(name, tmp_path).model.read_bytes() == project.model.read_bytes()
    assert _model_file(Path("models/model.pth")) == Path("models/model.pth")
    for name in ("models:/letters@worst", "models:/letters/9", "models:/words@best"):
        with pytest.raises(GptModelError, match=rf"^{name}: sqlite:.* has no such version; `gptmodel register`"):
            gptmodel.load(name)
    with pytest.raises(GptModelError, match=r"^models:/letters: has to be models:/NAME@ALIAS or models:/NAME/VERSION"):
        gptmodel.load("models:/letters")


def test_a_version_outlives_its_run(
    registered: tuple[Project, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, run = tmp_path / "project", run_id(registered[0])
    shutil.copytree(registered[0].folder, root)
    sync(root)  # the copy's own artifacts
    monkeypatch.chdir(root)
    client(root).delete_run(run)
    client(root)._tracking_client.store._hard_delete_run(run)  # as `mlflow gc` does
    shutil.rmtree(root / "mlartifacts" / run)
    expected = (root / "models" / "model.pth").read_bytes()
    for name in ("models:/letters@best", "models:/letters/1"):
        assert gptmodel.load(name).generate("a", max_new_tokens=3, seed=1)
        assert _model_file(Path(name)).read_bytes() == expected
        found = find(name, tmp_path)
        assert found.model.read_bytes() == expected


@pytest.mark.slow
def test_it_is_used_where_the_project_is_not(registered: tuple[Project, str], tmp_path: Path) -> None:
    project, _ = registered
    result = subprocess.run(
        [sys.executable, "-P", "-c", LOAD, f"sqlite:///{project.folder}/mlflow.db", str(ROOT)],
        cwd=tmp_path,
        env=CLEAN | {"PYTHONPATH": str(ROOT), "MLFLOW_DISABLE_TELEMETRY": "true"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    code, libraries, texts, four, errors = json.loads(result.stdout)
    assert Path(code).is_relative_to(project.folder / "mlartifacts")
    assert set().union(*OUTSIDE.values()) & set(libraries) - {"pydantic_core"} == set(served_model.LIBRARIES) - {
        "tiktoken"
    }
    model = gptmodel.load(project.model)
    settings: dict[str, Any] = {"max_new_tokens": 12, "temperature": 0.5, "top_k": 5, "stop": "j", "seed": 3}
    assert texts == [[model.generate(prompt, **settings) for prompt in ("ab", "c")]] * 3
    assert four == [model.generate("a", max_new_tokens=4)]
    assert errors[0].startswith("DataError: character 3 (counted from 0) is '!'")
    assert errors[1] == "ConfigError: prompt = '': has to be a text that is not empty"


def test_in_a_database_of_a_team_it_lies_in_the_project_that_registered_it(
    alone: Project, template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"sqlite:///{tmp_path}/team.db"
    shutil.copy(template, tmp_path / "team.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    store, project = MlflowClient(tracking_uri=uri), Project(tmp_path / "project")
    shutil.copytree(alone.folder, project.folder)
    description = json.loads((project.folder / "models" / "run.json").read_text())
    store.create_experiment(description["experiment"], (tmp_path / "another" / "mlartifacts").as_uri())
    sync(project.folder)
    run = run_of_model(project.folder, project.folder / "models" / "run.json")
    served = Served(served_model.__name__, served_model.SETTINGS, served_model.LIBRARIES)
    assert register(project.folder, run, served, "letters", "best").version == "1"
    assert not (tmp_path / "another").exists()
    [file] = (project.folder / "mlartifacts" / "models").glob("*/artifacts/data/model.pth")
    assert file.read_bytes() == project.model.read_bytes()
    loaded = mlflow.artifacts.download_artifacts("models:/letters@best", dst_path=str(tmp_path), tracking_uri=uri)
    assert (Path(loaded) / "data" / "model.pth").read_bytes() == file.read_bytes()


@pytest.mark.parametrize(
    ("name", "alias"), [("a/b", "a"), ("", "a"), ("..", "a"), ("a", "v3"), ("a", "Latest"), ("a", "")]
)
def test_names_that_cannot_be_are_refused(name: str, alias: str) -> None:
    with pytest.raises(ConfigError, match=r"^--(name|alias) \S+: .*such as "):
        check_names(name, alias)


def test_what_cannot_be_registered_is_told_in_a_line(registered: tuple[Project, str], tmp_path: Path) -> None:
    root, run_json = tmp_path / "project", tmp_path / "project" / "models" / "run.json"
    shutil.copytree(registered[0].folder, root)
    project, run = Project(root), run_id(registered[0])
    client(root).delete_logged_model(logged(project).model_id)
    assert project.succeed("register", "--name", "letters").output.startswith("letters version 3 is run ")
    assert run_called(root, f"runs:/{run}") == run_of_model(root, run_json) == run
    with pytest.raises(GptModelError, match=r"^--run ab: .* has no such run; `gptmodel ui` shows"):
        run_called(root, "ab")

    client(root).delete_run(run)
    restored = f"restore it \\(`mlflow runs restore --run-id {run}`\\)"
    for known in (None, run):  # a training writes run.json before its run has an id
        run_json.write_text(json.dumps(json.loads(run_json.read_text()) | {"run_id": known}))
        with pytest.raises(GptModelError, match=restored):
            run_of_model(root, run_json)
    attempt = project.run("register", "--run", run)
    assert attempt.status == 2
    assert attempt.error.splitlines()[-1].startswith(f"error: runs:/{run}: was deleted in MLflow; restore it")
    client(root).restore_run(run)
    shutil.rmtree(root / "mlartifacts" / run)
    attempt = project.run("register")
    assert attempt.status == 2
    assert f"error: runs:/{run}: it has no model/model.pth" in attempt.error

    (root / "mlflow.db").write_text("no database, but long enough to be taken for one " * 9)
    with pytest.raises(GptModelError, match=r"mlflow\.db cannot be read: file is not a database"):
        run_of_model(root, run_json)
    (root / "mlflow.db").unlink()
    with pytest.raises(GptModelError, match="does not have its run; `gptmodel sync` sends it"):
        run_of_model(root, run_json)
    run_json.write_text(json.dumps({"journal": None, "run_id": None, "experiment": None}))
    with pytest.raises(GptModelError, match=r"run\.json: its model was trained without MLflow; set runtime\.mlflow"):
        run_of_model(root, run_json)
    run_json.write_text("[")
    with pytest.raises(CheckpointError, match="does not name a run"):
        run_of_model(root, run_json)
    run_json.unlink()
    with pytest.raises(GptModelError, match=r"run\.json: no such file; train a model with `dvc repro`, or name"):
        run_of_model(root, run_json)
