"""MLflow as the store that runs are sent to. It imports mlflow where a store is used; only `registry` does too."""

import contextlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock

from gptmodel.tracking.addresses import check_address
from gptmodel.tracking.database import (
    FIRST_EXPERIMENT,
    SQLITE,
    artifacts_folder,
    check_database,
    database_file,
    is_empty,
    is_own,
    settle,
    store_address,
    store_uri,
)
from gptmodel.tracking.events import Event
from gptmodel.tracking.failures import plain
from gptmodel.tracking.journal import artifacts_below, tracking_folder
from gptmodel.tracking.mlflow_experiments import DELETED, check_alive, experiment_number, run_tagged
from gptmodel.tracking.servers import is_server, pass_proxy_by
from gptmodel.tracking.store import BRIEF, LONG, NO_STORE, DeletedError, Point, RejectedError, Report

# no retries inside MLflow: they take minutes, and `send_to_mlflow` has its own
MLFLOW_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "15",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "GIT_PYTHON_REFRESH": "quiet",
    "OMP_NUM_THREADS": "1",
}

JOURNAL_TAG = "gptmodel.journal"
FINAL_ERRORS = {"INVALID_PARAMETER_VALUE", "BAD_REQUEST", "RESOURCE_ALREADY_EXISTS"}


class MlflowStore:
    """The MLflow store of a project, as `store.Store`. What the user's environment sets for MLflow holds."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()
        self._uri = store_uri(root)
        self._database = database_file(self._uri)
        self._client: Any = None
        self.identity = NO_STORE
        self.address = store_address(root)

    def connect(self, report: Report, *, to_write: bool = True) -> None:
        check_address(self._uri)
        if self._database:
            check_database(self._database, to_write=to_write)
        if self._client is not None:
            return
        report("importing mlflow", LONG)
        for name, value in MLFLOW_ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        pass_proxy_by(self._uri)
        from mlflow import MlflowClient
        from mlflow.store.db import utils

        utils.MAX_RETRY_COUNT = 1  # else a wrong password is tried for minutes
        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.ERROR)
        report("opening the store", BRIEF if is_server(self._uri) else 4 * LONG)  # the first time it makes all tables
        is_made = not to_write and (self._database or is_server(self._uri))  # and may be where nothing can be written
        with contextlib.nullcontext() if is_made else self._first_access():
            self._create_database()
            client = MlflowClient(tracking_uri=self._uri)
            client.search_experiments(max_results=1)  # creates or opens the database: two at once would fail
            if self._database:
                settle(self._database, self._root)
        self.identity = _identity(client)
        self._client = client

    def _create_database(self) -> None:
        """Make a new database beside its place: one whose first migration was cut off could never be opened again."""
        if not self._database or not is_empty(self._database):
            return
        from mlflow import MlflowClient

        building = self._database.with_name(f"{self._database.name}.new")
        building.unlink(missing_ok=True)
        MlflowClient(tracking_uri=f"{SQLITE}{building.as_posix()}").search_experiments(max_results=1)
        building.replace(self._database)

    def find_run(self, run_id: str | None, key: str, experiment: str) -> str | None:
        run = found(self._client.get_run, run_id) if run_id else None
        if run is None:
            run = run_tagged(self._client, experiment, JOURNAL_TAG, key)
        if run is not None and run.info.lifecycle_stage == DELETED:
            check_alive(self._client.get_experiment(run.info.experiment_id))
            raise DeletedError(str(run.info.run_id))
        if run is not None and not run_id and (tracking_folder(self._root) / key).is_dir():
            self._keep_files_here(run.info.run_id)  # a kill may have cut `create_run` off before it did
        return str(run.info.run_id) if run is not None else None

    def create_run(self, key: str, experiment: str, name: str | None, start_ms: int, imported: bool) -> str:
        tags = {JOURNAL_TAG: key} | ({"imported": "true"} if imported else {})
        with self._first_access():
            # beside a database, MLflow would put artifacts below the working folder, which `dvc exp run --temp` deletes
            location = None if is_server(self._uri) else artifacts_folder(self._root).as_uri()
            number = experiment_number(self._client, experiment, location)
        run_id = str(self._client.create_run(number, start_ms or None, tags, name).info.run_id)
        self._keep_files_here(run_id)
        return run_id

    def _keep_files_here(self, run_id: str) -> None:
        self._keep_here("SqlRun", "artifact_uri", run_id, f"{run_id}/artifacts")

    def keep_model_here(self, model_id: str) -> None:
        """Let the files of a model that MLflow was told of lie in this project, as those of its runs do."""
        self._keep_here("SqlLoggedModel", "artifact_location", model_id, f"models/{model_id}/artifacts")

    def _keep_here(self, table: str, column: str, key: str, below: str) -> None:
        """Let files lie in this project, in a database that several projects share.

        MLflow would put them below the folder of the project that made the experiment, which may be nothing here, or
        ask a server for them. What somebody keeps in a bucket stays there. A store that is a folder has no database.
        """
        store = self._client._tracking_client.store
        is_shared = not is_server(self._uri) and not (self._database and is_own(self._database, self._root))
        if not is_shared or not hasattr(store, "ManagedSessionMaker"):
            return
        from mlflow.store.tracking.dbmodels import models

        with store.ManagedSessionMaker(read_only=False) as session:
            row = session.get(getattr(models, table), key)
            place = str(getattr(row, column))
            if place.startswith("file:") or "://" not in place:
                setattr(row, column, (artifacts_folder(self._root) / below).as_uri())

    def stored_files(self, run_id: str) -> list[tuple[Path, str]]:
        return artifacts_below(artifacts_folder(self._root) / run_id / "artifacts")

    def points(self, run_id: str, key: str) -> list[Point]:
        history = self._client.get_metric_history(run_id, key)
        return [Point(key, metric.value, metric.timestamp, metric.step) for metric in history]

    def send(self, run_id: str, kind: str, items: Sequence[Any]) -> None:
        from mlflow.entities import Metric, Param, RunTag

        with _rejections():
            if kind == "metric":
                metrics = [Metric(p.key, p.value, p.timestamp_ms, p.step) for p in items]
                self._client.log_batch(run_id, metrics=metrics)
            elif kind == "param":
                self._client.log_batch(run_id, params=[Param(*item) for item in items])
            else:
                self._client.log_batch(run_id, tags=[RunTag(*item) for item in items])

    def send_dataset(self, run_id: str, dataset: Event) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        tags = [InputTag(name, text) for name, text in dataset["tags"].items()]
        entity = Dataset(dataset["name"], dataset["digest"], "local", json.dumps({"uri": dataset["source"]}))
        with _rejections():
            context = InputTag("mlflow.data.context", dataset["context"])
            self._client.log_inputs(run_id, datasets=[DatasetInput(entity, [context, *tags])])

    def send_file(self, run_id: str, path: Path, folder: str) -> None:
        self._client.log_artifact(run_id, str(path), folder or None)

    def set_status(self, run_id: str, status: str, end_ms: int | None) -> None:
        if status == "RUNNING":
            self._client.update_run(run_id, status)
        else:
            self._client.set_terminated(run_id, status, end_ms)

    def reading(self) -> Any:
        """Connect, and return MLflow's client for those who only read; None where no store was made yet."""
        if self._database and is_empty(self._database):
            return None
        self.connect(lambda _what, _seconds: None, to_write=False)
        return self._client

    def has_run(self, run_id: str) -> bool:
        """Whether a run of this id is there; for a store that is connected."""
        return found(self._client.get_run, run_id) is not None

    def version(self, name: str, alias: str | None, number: str | None) -> Any:
        """Return a registered version, by its alias or else number, or None; for a store that is connected."""
        get = self._client.get_model_version_by_alias if alias else self._client.get_model_version
        return found(get, name, alias or number)

    def version_file(self, version: Any, file: str, folder: Path) -> Path:
        """Download a file that a registered version holds; for a store that is connected."""
        from mlflow.artifacts import download_artifacts

        place = self._client.get_model_version_download_uri(version.name, version.version)
        return Path(download_artifacts(f"{place}/{file}", dst_path=str(folder), tracking_uri=self._uri))

    @contextlib.contextmanager
    def _first_access(self) -> Iterator[None]:
        folder = tracking_folder(self._root)
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".store.lock", timeout=2 * LONG):
            yield


def found(get: Callable[..., Any], *names: str | None) -> Any:
    """Return what MLflow has by these names; None where it has nothing."""
    from mlflow.exceptions import MlflowException

    try:
        return get(*names)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def _identity(client: Any) -> str:
    """Return when the store was made, which MLflow writes down for its first experiment."""
    from mlflow.exceptions import MlflowException

    try:
        return str(client.get_experiment(FIRST_EXPERIMENT).creation_time)
    except MlflowException:  # purged, or kept from this user
        return NO_STORE


@contextlib.contextmanager
def _rejections() -> Iterator[None]:
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        if error.error_code in FINAL_ERRORS:
            raise RejectedError(plain(error)) from error
        raise
