"""MLflow as the store that runs are sent to. The only file that imports mlflow, and only where a store is used."""

import contextlib
import json
import logging
import os
import sqlite3
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock

from gptmodel.address import without_password
from gptmodel.errors import GptModelError
from gptmodel.tracking.events import Event
from gptmodel.tracking.journal import tracking_folder
from gptmodel.tracking.store import BRIEF, LONG, DeletedError, Point, RejectedError, Report

# no retries inside MLflow: they take minutes, and `send_to_mlflow` has its own
MLFLOW_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "15",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "GIT_PYTHON_REFRESH": "quiet",
    "OMP_NUM_THREADS": "1",
}

MODEL_ARTIFACT = "model/model.pth"
JOURNAL_TAG = "gptmodel.journal"
FINAL_ERRORS = {"INVALID_PARAMETER_VALUE", "BAD_REQUEST", "RESOURCE_ALREADY_EXISTS"}


def store_uri(root: Path) -> str:
    """Return the address of the store: $MLFLOW_TRACKING_URI, or the database in the project's folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{root.resolve().as_posix()}/mlflow.db"


def plain(error: BaseException) -> str:
    """Return the cause of a failure in one line: the system's own words, where there are any."""
    innermost = error
    while cause := innermost.__cause__ or innermost.__context__:
        innermost = cause
    if isinstance(innermost, TimeoutError):
        return "it did not answer in time"
    if isinstance(innermost, OSError) and innermost.strerror:
        text = f"{innermost.strerror}{f': {innermost.filename}' if innermost.filename else ''}"
    else:
        text = str(innermost if isinstance(innermost, OSError | sqlite3.Error) else error)
    line = " ".join(text.split()) or type(error).__name__
    return line if len(line) <= 200 else f"{line[:197]}..."


def download_model(root: Path, run_id: str, folder: Path) -> Path:
    """Download the model file of a run in a project's store into `folder` and return where it is.

    GptModelError for a run that is not in the store, for one without a model, and where the store is out of reach.
    """
    store = MlflowStore(root)
    try:
        return store.download(run_id, MODEL_ARTIFACT, folder)
    except GptModelError:
        raise
    except Exception as error:
        raise GptModelError(f"runs:/{run_id}: {store.address} cannot be read: {plain(error)}") from None


class MlflowStore:
    """The MLflow store of a project, as `store.Store`. What the user's environment sets for MLflow holds."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()
        self._uri = store_uri(root)
        self._client: Any = None
        self.address = without_password(self._uri)

    def connect(self, report: Report) -> None:
        self._probe()
        if self._client is not None:
            return
        report("importing mlflow", LONG)
        for name, value in MLFLOW_ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient

        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.ERROR)
        report("opening the store", LONG if self._uri.startswith("sqlite:") else BRIEF)
        with self._first_access():
            self._create_database()
            client = MlflowClient(tracking_uri=self._uri)
            client.search_experiments(max_results=1)  # creates or opens the database: two at once would fail
        self._client = client

    def _create_database(self) -> None:
        """Make a new database beside its place: one whose first migration was cut off could never be opened again."""
        database = Path(self._uri.removeprefix("sqlite:///"))
        if not self._uri.startswith("sqlite:///") or (database.exists() and database.stat().st_size):
            return
        from mlflow import MlflowClient

        building = database.with_name(f"{database.name}.new")
        building.unlink(missing_ok=True)
        MlflowClient(tracking_uri=f"sqlite:///{building.as_posix()}").search_experiments(max_results=1)
        building.replace(database)

    def find_run(self, run_id: str | None, key: str, experiment: str) -> str | None:
        run = self._run_by_id(run_id) if run_id else None
        if run is None:
            run = self._run_by_journal(key, experiment)
        if run is not None and run.info.lifecycle_stage == "deleted":
            raise DeletedError(f"run {run.info.run_id} was deleted in MLflow: what it logs is kept in its journal only")
        return str(run.info.run_id) if run is not None else None

    def create_run(self, key: str, experiment: str, name: str | None, start_ms: int, imported: bool) -> str:
        tags = {JOURNAL_TAG: key} | ({"imported": "true"} if imported else {})
        with self._first_access():
            existing = self._client.get_experiment_by_name(experiment)
            if existing is not None and existing.lifecycle_stage == "deleted":
                raise GptModelError(
                    f"experiment {experiment} was deleted in MLflow: restore it, or change runtime.experiment"
                )
            # MLflow would put artifacts below the working folder, which `dvc exp run --temp` deletes
            location = (self._root / "mlartifacts").as_uri() if self._uri.startswith("sqlite:") else None
            number = existing.experiment_id if existing else self._client.create_experiment(experiment, location)
        return str(self._client.create_run(number, start_ms or None, tags, name).info.run_id)

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

    def download(self, run_id: str, artifact: str, folder: Path) -> Path:
        """Download an artifact of a run; GptModelError where there is none, and any error of a store out of reach."""
        database = Path(self._uri.removeprefix("sqlite:///"))
        if self._uri.startswith("sqlite:///") and not database.exists():
            raise GptModelError(f"runs:/{run_id}: there is no MLflow store at {database}; `gptmodel train` makes one")
        self.connect(lambda _what, _seconds: None)
        if self._run_by_id(run_id) is None:
            raise GptModelError(f"runs:/{run_id}: {self.address} has no such run; `gptmodel ui` shows the ids of all")
        above = artifact.rpartition("/")[0]
        if artifact not in [entry.path for entry in self._client.list_artifacts(run_id, above)]:
            raise GptModelError(
                f"runs:/{run_id}: it has no {artifact}; its training did not end, or `gptmodel sync` has to send it"
            )
        return Path(self._client.download_artifacts(run_id, artifact, str(folder)))

    def _run_by_id(self, run_id: str) -> Any:
        from mlflow.exceptions import MlflowException

        try:
            return self._client.get_run(run_id)
        except MlflowException as error:
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                return None
            raise

    def _run_by_journal(self, key: str, experiment: str) -> Any:
        existing = self._client.get_experiment_by_name(experiment)
        if existing is None:
            return None
        runs = self._client.search_runs([existing.experiment_id], f"tags.`{JOURNAL_TAG}` = '{key}'", max_results=1)
        return runs[0] if runs else None

    def _probe(self) -> None:
        """Fail in a second where MLflow would retry for minutes: a locked, read-only or foreign database file.

        A link to a database is followed.
        """
        if not self._uri.startswith("sqlite:///"):
            return
        if "?" in self._uri:
            raise GptModelError(f"a sqlite address cannot hold a question mark: {self.address}; move the project")
        path = Path(self._uri.removeprefix("sqlite:///"))
        filled = path.is_file() and path.stat().st_size > 0
        if not filled and os.path.lexists(path) and not stat.S_ISREG(path.lstat().st_mode):
            # a new database would take its place
            raise GptModelError(f"{path} is no regular file; move it away, or set MLFLOW_TRACKING_URI to another place")
        database = sqlite3.connect(path, timeout=1.0, isolation_level=None)
        with contextlib.closing(database):
            database.execute("BEGIN IMMEDIATE")
            database.execute("ROLLBACK")

    @contextlib.contextmanager
    def _first_access(self) -> Iterator[None]:
        folder = tracking_folder(self._root)
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".store.lock", timeout=2 * LONG):
            yield


@contextlib.contextmanager
def _rejections() -> Iterator[None]:
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        if error.error_code in FINAL_ERRORS:
            raise RejectedError(plain(error)) from error
        raise
