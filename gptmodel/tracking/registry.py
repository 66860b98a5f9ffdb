"""MLflow's registry: a tracked model under a name, to be loaded and served without the project."""

import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from gptmodel.errors import ConfigError, GptModelError
from gptmodel.files import digest, fingerprint
from gptmodel.tracking.database import store_uri
from gptmodel.tracking.lookup import MODEL_ARTIFACT, download, in_reach, run_named
from gptmodel.tracking.mlflow_experiments import DELETED
from gptmodel.tracking.mlflow_store import MlflowStore, found
from gptmodel.tracking.mlflow_tracker import read_description
from gptmodel.tracking.store import DeletedError

STORE = "MLFLOW_TRACKING_URI"
NAME = re.compile(r"\w[\w-]{0,199}")
VERSION_ALIAS = re.compile(r"latest|v\d+", re.IGNORECASE)
LAST_METRIC = "final/seconds"
"""Which is logged once, after the last iteration."""
CONTENT_TAG = "gptmodel.content"
"""Of a version: the digest of what it holds."""
PACKAGE = Path(__file__).resolve().parents[1]
TYPES = {int: "long", float: "double", str: "string"}


@dataclass(frozen=True)
class Served:
    """How MLflow loads a model file."""

    module: str
    """Of this package, with `_load_pyfunc`."""
    settings: Mapping[str, Any]
    """What a prediction can be told, with the defaults: numbers, texts, or [] for a list of texts."""
    libraries: Sequence[str]
    """What the module imports of others."""


@dataclass(frozen=True)
class Registered:
    """A version of a registered model."""

    name: str
    version: str
    run_id: str
    run_name: str
    former: str | None
    """The version that had the alias before."""
    anew: bool
    """Whether this version was made now."""


def register(root: Path, run_id: str, served: Served, name: str, alias: str) -> Registered:
    """Give the model of a run in a project's store the next version of a name, and an alias.

    A version of the name that holds the same of the same run gets the alias in place of a second one. Everything is put
    together on this machine before the store is told anything; the run's status and times stay as they are.
    GptModelError for a run that is not there, was deleted or has no model, and for a store out of reach.
    """
    store = MlflowStore(root)
    with tempfile.TemporaryDirectory() as temporary, in_reach(store, f"runs:/{run_id}"):
        folder = Path(temporary)
        file = download(store, run_id, MODEL_ARTIFACT, folder)
        run = store.reading().get_run(run_id)
        if run.info.lifecycle_stage == DELETED:
            raise _deleted(run_id)
        with in_reach(store, name, "written"), _default_store(store_uri(root)):
            return _registered(store, run, _saved(file, served, run_id, folder / "saved"), name, alias)


def run_of_model(root: Path, run_json: Path) -> str:
    """Return the id of the run that a trained model's run.json describes.

    GptModelError where there is no such file, where it describes no tracked run, and where the store lacks the run.
    """
    store = MlflowStore(root)
    if not run_json.is_file():
        raise GptModelError(f"{run_json}: no such file; train a model with `dvc repro`, or name a run with --run")
    description = read_description(run_json)
    if description.get("journal") is None:
        raise GptModelError(
            f"{run_json}: its model was trained without MLflow; set runtime.mlflow to true and train again, or name a "
            "run with --run"
        )
    run_id, journal, experiment = (str(description.get(key) or "") for key in ("run_id", "journal", "experiment"))
    with in_reach(store, str(run_json)):
        try:
            present = store.reading() and store.find_run(run_id or None, journal, experiment)
        except DeletedError as error:
            raise _deleted(error.run_id) from None
    if not present:
        raise GptModelError(
            f"{run_json}: {store.address} does not have its run; `gptmodel sync` sends it or, if it "
            "was removed for good, `dvc repro --force train` makes another"
        )
    return str(present)


def run_called(root: Path, name: str) -> str:
    """Return the id of the run in a project's store that is called by its id or name; GptModelError for none."""
    store = MlflowStore(root)
    with in_reach(store, name):
        run_id = run_named(store, name.removeprefix("runs:/"))
    if run_id is None:
        raise GptModelError(f"--run {name}: {store.address} has no such run; `gptmodel ui` shows the ids of all")
    return run_id


def check_names(name: str, alias: str) -> None:
    """Raise ConfigError for what cannot be the name or the alias of a registered model."""
    for option, value, example in (("--name", name, "gptmodel"), ("--alias", alias, "champion")):
        if not NAME.fullmatch(value):
            raise ConfigError(
                f"{option} {value or repr(value)}: has to be of letters, digits, _ and -, such as {example}"
            )
    if VERSION_ALIAS.fullmatch(alias):
        raise ConfigError(f"--alias {alias}: MLflow keeps this one for versions; choose another, such as champion")


def _deleted(run_id: str) -> GptModelError:
    restore = f"`mlflow runs restore --run-id {run_id}`"
    return GptModelError(f"runs:/{run_id}: was deleted in MLflow; restore it ({restore}), or name another with --run")


def _saved(file: Path, served: Served, run_id: str, folder: Path) -> Path:
    """Write the folder that MLflow loads: the model file, this package, and no pickle of anything."""
    from mlflow import pyfunc
    from mlflow.models import Model, ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema

    text = Schema([ColSpec("string")])  # without a name: with one, MLflow would refuse a plain list of prompts
    params = [
        ParamSpec(name, "string", value, shape=(-1,)) if value == [] else ParamSpec(name, TYPES[type(value)], value)
        for name, value in served.settings.items()
    ]
    pyfunc.save_model(
        str(folder),
        loader_module=served.module,
        data_path=str(file),
        code_paths=[str(PACKAGE)],
        # of a build such as 2.13.0+cpu, what a registry has
        pip_requirements=[f"{library}=={version(library).partition('+')[0]}" for library in served.libraries],
        mlflow_model=Model(run_id=run_id, signature=ModelSignature(text, text, ParamSchema(params))),
    )
    return folder


@contextmanager
def _default_store(uri: str) -> Iterator[None]:
    """Let the parts of MLflow find the store that do not ask their client, as the registry of a database."""
    before = os.environ.get(STORE)
    os.environ[STORE] = uri
    try:
        yield
    finally:
        os.environ.pop(STORE)
        if before is not None:
            os.environ[STORE] = before


def _registered(store: MlflowStore, run: Any, folder: Path, name: str, alias: str) -> Registered:
    """Store the folder as a model that the run made, and make a version of it.

    MLflow's own function would take experiment and store from settings of the whole process, and put the model below
    the working folder.
    """
    from mlflow.entities import LoggedModelStatus
    from mlflow.models import Model

    client, run_id, content = store.reading(), run.info.run_id, _content(folder)
    former = _create_name(client, name, alias)
    number = _version_with(client, name, run_id, content)
    if anew := number is None:
        model = client.create_logged_model(run.info.experiment_id, name, source_run_id=run_id, params=run.data.params)
        store.keep_model_here(model.model_id)
        description, source = Model.load(str(folder)), f"models:/{model.model_id}"
        description.model_id = description.model_uuid = model.model_id
        description.artifact_path = source  # and no folder, which a copy or a move of the project would make wrong
        description.save(str(folder / "MLmodel"))
        client.log_model_artifacts(model.model_id, str(folder))
        client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
        _show_last_metrics(client, run, model.model_id)
        tags = {CONTENT_TAG: content}
        number = client.create_model_version(name, source, run_id, tags=tags, model_id=model.model_id).version
    client.set_registered_model_alias(name, alias, number)
    return Registered(name, str(number), run_id, str(run.info.run_name), former, anew)


def _content(folder: Path) -> str:
    """Return the digest of the files that MLflow loads, but for MLmodel, which says when it was written."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "MLmodel"]
    return fingerprint({path.relative_to(folder).as_posix(): digest(path) for path in sorted(files)})


def _version_with(client: Any, name: str, run_id: str, content: str) -> str | None:
    """Return the version of a name that holds this of a run, if there is one whose model was not deleted."""
    for entry in client.search_model_versions(f"name = '{name}' and run_id = '{run_id}'"):
        model_id = entry.source.removeprefix("models:/")
        if entry.tags.get(CONTENT_TAG) == content and found(client.get_logged_model, model_id) is not None:
            return str(entry.version)
    return None


def _show_last_metrics(client: Any, run: Any, model_id: str) -> None:
    """Let the model's own page show the losses after the last iteration."""
    from mlflow.entities import LoggedModelOutput, Metric

    run_id = run.info.run_id
    last = client.get_metric_history(run_id, LAST_METRIC)
    step = last[-1].step if last else 0
    client.log_outputs(run_id, [LoggedModelOutput(model_id, step)])
    points = [point for key in run.data.metrics for point in client.get_metric_history(run_id, key)]
    metrics = [
        Metric(point.key, point.value, point.timestamp, step, model_id=model_id, run_id=run_id)
        for point in points
        if point.step == step
    ]
    client.log_batch(run_id, metrics=metrics)


def _create_name(client: Any, name: str, alias: str) -> str | None:
    """Make the registered model unless it is there, and return the version that has the alias."""
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
        return None
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    former = client.get_registered_model(name).aliases.get(alias)
    return None if former is None else str(former)
