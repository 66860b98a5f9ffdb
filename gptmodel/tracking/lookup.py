"""The files of a run in the MLflow store of a project, by the run's id or name, or by a registered version's."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gptmodel.errors import GptModelError, Interrupted
from gptmodel.tracking.failures import plain
from gptmodel.tracking.mlflow_store import MlflowStore

RUN_ID = re.compile(r"[0-9a-f]{32}")
VERSION = re.compile(r"models:/([^/@]+)(?:@([^/@]+)|/(\d+))")
MODEL_ARTIFACT = "model/model.pth"
REGISTERED_FILE = "data/model.pth"
"""In what a registered version holds."""
VAL_LOSSES_ARTIFACT = "evaluation/val_losses.npy"


def download_model(root: Path, name: str, folder: Path) -> Path:
    """Download the model file of "runs:/ID" or "models:/NAME@ALIAS" into `folder` and return where it is.

    A version whose run was removed for good has a copy of its own.

    GptModelError for a run or version that is not in the store, for a run without a model, and where the store is out
    of reach.
    """
    store = MlflowStore(root)
    with in_reach(store, name):
        if name.startswith("models:/"):
            return _model_of(store, _version(store, name), folder)
        return download(store, name.removeprefix("runs:/"), MODEL_ARTIFACT, folder)


def tracked_model(root: Path, name: str, folder: Path) -> tuple[Path, Path | None] | None:
    """Download the model file of a run, and what evaluate wrote of its losses; None for no run of this id or name.

    "runs:/" may stand before it, and "models:/NAME@ALIAS" is the run of a registered version. Raises GptModelError for
    a version that is not there, for a name of several runs, for a run without a model, and where the store is out of
    reach.
    """
    store = MlflowStore(root)
    with in_reach(store, name):
        version = _version(store, name) if name.startswith("models:/") else None
        run_id = version.run_id if version else run_named(store, name.removeprefix("runs:/"))
        if run_id is None:
            return None
        below = folder / run_id
        below.mkdir(exist_ok=True)
        model = _model_of(store, version, below) if version else download(store, run_id, MODEL_ARTIFACT, below)
        has_losses = store.has_run(run_id) and _has(store.reading(), run_id, VAL_LOSSES_ARTIFACT)
        return model, download(store, run_id, VAL_LOSSES_ARTIFACT, below) if has_losses else None


def run_named(store: MlflowStore, name: str) -> str | None:
    """Return the id of a run that is called by its id, which may be of none, or by its name; None for no such name.

    Raises GptModelError for a name of several runs, and any error of a store out of reach.
    """
    ids = [name] if RUN_ID.fullmatch(name) else _runs_named(store, name)
    if len(ids) > 1:
        some = ", ".join(ids[:5])
        raise GptModelError(f"{name}: {len(ids)} runs in MLflow have this name; give the id of one: {some}")
    return ids[0] if ids else None


@contextmanager
def in_reach(store: MlflowStore, name: str, doing: str = "read") -> Iterator[None]:
    """Make one line of whatever a store that is out of reach raises."""
    try:
        yield
    except (GptModelError, Interrupted):
        raise
    except Exception as error:
        raise GptModelError(f"{name}: {store.address} cannot be {doing}: {plain(error)}") from None


def download(store: MlflowStore, run_id: str, artifact: str, folder: Path) -> Path:
    """Download an artifact of a run; GptModelError where there is none, and any error of a store out of reach."""
    client = store.reading()
    if client is None:
        raise GptModelError(
            f"runs:/{run_id}: there is no MLflow store at {store.address}; run this in the project's folder, or set "
            "MLFLOW_TRACKING_URI"
        )
    if not store.has_run(run_id):
        raise GptModelError(f"runs:/{run_id}: {store.address} has no such run; `gptmodel ui` shows the ids of all")
    if not _has(client, run_id, artifact):
        raise GptModelError(
            f"runs:/{run_id}: it has no {artifact}; its training did not end, or `gptmodel sync` has to send it, or it "
            "was removed for good: train it again, or take another run"
        )
    return Path(client.download_artifacts(run_id, artifact, str(folder)))


def _model_of(store: MlflowStore, version: Any, folder: Path) -> Path:
    """Download the model file of a registered version: its run's or, where that was removed for good, its own copy."""
    if store.has_run(version.run_id) and _has(store.reading(), version.run_id, MODEL_ARTIFACT):
        return download(store, version.run_id, MODEL_ARTIFACT, folder)
    return store.version_file(version, REGISTERED_FILE, folder)


def _version(store: MlflowStore, name: str) -> Any:
    """Return a version in the registry that is of a run, by its alias or number."""
    if (found := VERSION.fullmatch(name)) is None:
        raise GptModelError(
            f"{name}: has to be models:/NAME@ALIAS or models:/NAME/VERSION, as `gptmodel register` says"
        )
    version = store.version(*found.groups()) if store.reading() is not None else None
    if version is None or not version.run_id:
        raise GptModelError(f"{name}: {store.address} has no such version; `gptmodel register` makes one of a model")
    return version


def _has(client: Any, run_id: str, artifact: str) -> bool:
    return artifact in [entry.path for entry in client.list_artifacts(run_id, artifact.rpartition("/")[0])]


def _runs_named(store: MlflowStore, name: str) -> list[str]:
    """Return the ids of the runs of a name, the newest first; none where there is no store yet."""
    client = store.reading()
    if client is None or "'" in name:  # which MLflow's filters cannot hold
        return []
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    return [str(run.info.run_id) for run in client.search_runs(experiments, f"attributes.run_name = '{name}'")]
