"""MLflow: the store that runs are sent to, and the tracker that a stage holds. The only file that imports mlflow.

The stage's own process never imports mlflow and never waits for it: `MlflowTracker` writes a journal, and a helper
process (`sender`) sends it to an `MlflowStore`. `sync` does the same in the foreground.
"""

import contextlib
import json
import logging
import os
import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock

from gptmodel.errors import GptModelError
from gptmodel.tracking.base import NullTracker, Tracker
from gptmodel.tracking.delivery import Delivery, unsent
from gptmodel.tracking.events import Event
from gptmodel.tracking.journal import tracking_folder
from gptmodel.tracking.journal_tracker import JournalTracker
from gptmodel.tracking.sender import SENDER_ENVIRONMENT, plain
from gptmodel.tracking.store import BRIEF, LONG, DeletedError, Point, RejectedError, Report

JOURNAL_TAG = "gptmodel.journal"
FINAL_ERRORS = {"INVALID_PARAMETER_VALUE", "BAD_REQUEST", "RESOURCE_ALREADY_EXISTS"}


def store_uri(root: Path) -> str:
    """Return the address of the store: $MLFLOW_TRACKING_URI, or the database in the project's folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{root.resolve().as_posix()}/mlflow.db"


def without_password(uri: str) -> str:
    """Return an address as it may be shown and stored."""
    return re.sub(r"//[^/@]*@", "//", uri)


class MlflowStore:
    """The MLflow store of a project, as `delivery.Store`."""

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

        new = database.with_name(f"{database.name}.new")
        new.unlink(missing_ok=True)
        MlflowClient(tracking_uri=f"sqlite:///{new.as_posix()}").search_experiments(max_results=1)
        new.replace(database)

    def find_run(self, run_id: str | None, key: str, experiment: str) -> str | None:
        found = self._run_by_id(run_id) if run_id else None
        if found is None and (known := self._client.get_experiment_by_name(experiment)):
            runs = self._client.search_runs([known.experiment_id], f"tags.`{JOURNAL_TAG}` = '{key}'", max_results=1)
            found = runs[0] if runs else None
        if found is not None and found.info.lifecycle_stage == "deleted":
            raise DeletedError(
                f"run {found.info.run_id} was deleted in MLflow: what it logs is kept in its journal only"
            )
        return str(found.info.run_id) if found is not None else None

    def create_run(self, key: str, experiment: str, name: str | None, start_ms: int, imported: bool) -> str:
        tags = {JOURNAL_TAG: key} | ({"imported": "true"} if imported else {})
        with self._first_access():
            known = self._client.get_experiment_by_name(experiment)
            if known is not None and known.lifecycle_stage == "deleted":
                raise GptModelError(f"experiment {experiment} was deleted in MLflow: restore it, or name another")
            # MLflow would put artifacts below the working folder, which `dvc exp run --temp` deletes
            location = (self._root / "mlartifacts").as_uri() if self._uri.startswith("sqlite:") else None
            number = known.experiment_id if known else self._client.create_experiment(experiment, location)
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

    def _run_by_id(self, run_id: str) -> Any:
        from mlflow.exceptions import MlflowException

        try:
            return self._client.get_run(run_id)
        except MlflowException as error:
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                return None
            raise

    def _probe(self) -> None:
        """Fail in a second where MLflow would retry for minutes: a locked, read-only or foreign database file."""
        if not self._uri.startswith("sqlite:///"):
            return
        if "?" in self._uri:
            raise GptModelError(f"a sqlite address cannot hold a question mark: {self.address}; move the project")
        database = sqlite3.connect(self._uri.removeprefix("sqlite:///"), timeout=1.0, isolation_level=None)
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


class MlflowTracker(JournalTracker):
    """The run of one trained model, written to its journal and sent to MLflow by a helper process.

    `key` is 32 hex digits that are new for a new model; with the key of a run that was killed, that run goes on.
    """

    def __init__(self, root: Path, experiment: str, key: str, run_name: str | None = None) -> None:
        super().__init__(root, key, experiment, without_password(store_uri(root)))
        self.start(run_name)


def attach(root: Path, run_json: Mapping[str, Any]) -> Tracker:
    """Return a tracker that adds to the run of a trained model, named by what `describe` returned when it trained."""
    key, run_id = run_json.get("journal"), run_json.get("run_id")
    if not isinstance(key, str) or not re.fullmatch(r"[0-9a-f]{32}", key):
        return NullTracker("the model was trained without MLflow: nothing is added there")
    experiment = str(run_json.get("experiment") or "gptmodel")
    tracker = JournalTracker(root, key, experiment, without_password(store_uri(root)))
    tracker.attach(run_id if isinstance(run_id, str) else None)
    return tracker


def sync(root: Path) -> list[str]:
    """Send what earlier runs could not, and return what was done, a line each.

    Raises GptModelError when the store cannot be used; what was not sent stays where it was.
    """
    for name, value in SENDER_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    waiting = unsent(root)
    store = MlflowStore(root)
    lines = []
    for count, journal in enumerate(waiting):
        delivery = Delivery(store, lambda *_: None)
        try:
            delivery.send(journal)
        except Exception as error:
            left = len(waiting) - count
            raise GptModelError(
                f"MLflow at {store.address}: {plain(error)}; {left} of {len(waiting)} runs are still to be sent"
            ) from error
        lines.append(f"sent run {journal.run().get('run_id')} (runs/tracking/{journal.key})")
        lines += [f"MLflow refused {line}" for line in delivery.refused]
    return lines or [f"nothing to send: {store.address} has all runs of this project"]
