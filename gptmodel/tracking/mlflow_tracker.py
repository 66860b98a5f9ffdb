"""The tracker of a stage: it writes a journal, and has it sent to MLflow by a helper process.

The stage's own process never imports mlflow and never waits for it, but for some seconds at the end.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from filelock import FileLock, Timeout

from gptmodel.errors import CheckpointError
from gptmodel.tracking.database import store_address
from gptmodel.tracking.journal import Journal, now_ms
from gptmodel.tracking.journal_writer import JournalWriter
from gptmodel.tracking.sender import Sender
from gptmodel.tracking.tracker import NullTracker, Status, Tracker, Value

ALIVE_SECONDS = 3.0
DAMAGED = (AttributeError, LookupError, TypeError, ValueError, RecursionError)
"""What reading run.json or a journal raises where they hold what no tracker wrote."""


class DiskTrouble:
    """A block in which an error of the disk is no error of the run: it becomes a line for the user."""

    line: str | None = None

    def __enter__(self) -> None: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if not isinstance(error, OSError):
            return False
        self.line = f"the run's journal cannot be written: {error}"
        return True


class MlflowTracker:
    """A `Tracker` that writes all it is told to a run's journal, and has a `Sender` that sends the journal.

    `alive` is the lock that a training holds; without one, the tracker adds to a run that has ended.
    """

    def __init__(
        self,
        writer: JournalWriter,
        sender: Sender,
        experiment: str,
        trouble: DiskTrouble,
        alive: FileLock | None = None,
    ) -> None:
        self._writer = writer
        self._journal = writer.journal
        self._sender = sender
        self._experiment = experiment
        self._address = store_address(writer.journal.root)
        self._trouble = trouble
        self._alive = alive
        self._closed = False

    @property
    def problem(self) -> str | None:
        if self._trouble.line:
            return self._trouble.line
        folder = self._journal.folder.relative_to(self._journal.root).as_posix()
        if self._sender.failure:
            return (
                f"MLflow at {self._address}: {self._sender.failure}; "
                f"the run is kept in {folder}, and `gptmodel sync` sends it later"
            )
        if self._sender.refused:
            return f"MLflow refused {'; '.join(self._sender.refused)}"
        if self._writer.removed:
            return f"{folder} was removed while the run was tracked: it was written anew"
        return None

    def log_params(self, params: Mapping[str, Value]) -> None:
        with self._trouble:
            self._writer.params({key: str(value) for key, value in params.items()})

    def set_tags(self, tags: Mapping[str, str]) -> None:
        with self._trouble:
            self._writer.tags({key: str(value) for key, value in tags.items()})

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        points = {key: float(value) for key, value in metrics.items()}
        with self._trouble:
            self._writer.metrics(points, step, now_ms())

    def log_artifact(self, path: Path, folder: str = "") -> None:
        with self._trouble:
            if not path.is_dir():
                self._writer.file(path, Path(folder).as_posix())
                return
            for file in sorted(file for file in path.rglob("*") if file.is_file()):
                below = file.relative_to(path)
                if not any(part.startswith(".") for part in below.parts):  # such as git's and DVC's
                    self._writer.file(file, (Path(folder) / below.parent).as_posix())

    def log_dataset(self, name: str, digest: str, source: str, tags: Mapping[str, str]) -> None:
        with self._trouble:
            self._writer.event("dataset", name=name, digest=digest, source=source, context="training", tags=dict(tags))

    def flush(self) -> None:
        with self._trouble:
            self._writer.sync()
            self._keep_alive_lock()
        self._sender.wake()

    def describe(self, wait: float = 5.0) -> dict[str, str | None]:
        if not self._closed:
            self._sender.wait_for_run(wait)
        run_id = self._journal.run().get("run_id")
        return {"journal": self._journal.key, "run_id": run_id, "experiment": self._experiment}

    def close(self, status: Status | None) -> None:
        if self._closed:
            return
        self._closed = True
        if status is not None:
            with self._trouble:
                self._writer.event("status", value=status, ms=now_ms())
        with self._trouble:
            self._writer.close()
        self._sender.finish()
        if self._alive is not None:
            self._alive.release()

    def _keep_alive_lock(self) -> None:
        """Take the lock again where its file was removed, before another process takes it for free."""
        if self._alive is not None and not self._journal.alive_lock.exists():
            self._alive.release(force=True)
            self._alive.acquire()


def start_run(root: Path, experiment: str, key: str, name: str | None = None) -> Tracker:
    """Begin the run of one trained model, or go on with it where its process was killed.

    `key` is 32 hex digits that are new for a new model. Where the journal cannot be opened, the tracker remembers
    nothing, and its `problem` says why.
    """
    journal, trouble = Journal(root.resolve(), key), DiskTrouble()
    alive = FileLock(journal.alive_lock, timeout=ALIVE_SECONDS)
    try:
        journal.folder.mkdir(parents=True, exist_ok=True)
        alive.acquire()
        writer = JournalWriter(journal)
        with trouble:
            writer.begin(experiment, name, imported=False)
            writer.event("status", value="RUNNING", ms=None)
    except (OSError, *DAMAGED) as error:
        alive.release()
        return _not_tracked(error, key)
    sender = Sender(journal, experiment, send_others=True)
    return MlflowTracker(writer, sender, experiment, trouble, alive)


def read_description(run_json: Path) -> Mapping[str, Any]:
    """Return what a tracker's `describe` returned when the model was trained; CheckpointError for anything else."""
    try:
        description: Any = json.loads(run_json.read_bytes())
    except (ValueError, RecursionError):
        description = None
    if not isinstance(description, Mapping):
        raise CheckpointError(f"{run_json}: does not name a run; train the model again")
    return description


def attach(root: Path, run_json: Mapping[str, Any]) -> Tracker:
    """Return a tracker that adds to the run of a trained model, named by what `describe` returned when it trained.

    Where the run's journal is not here, it begins one; `problem` says why where it cannot.
    """
    key, run_id = run_json.get("journal"), run_json.get("run_id")
    if not isinstance(key, str) or not re.fullmatch(r"[0-9a-f]{32}", key):
        return NullTracker("the model was trained without MLflow, so nothing is added there")
    experiment = str(run_json.get("experiment") or "gptmodel")
    journal, trouble = Journal(root.resolve(), key), DiskTrouble()
    try:
        writer = JournalWriter(journal, again=True)
        with trouble:
            if writer.begin(experiment, None, imported=True) and isinstance(run_id, str) and run_id:
                journal.mark_run(run_id, experiment)
    except (OSError, *DAMAGED) as error:
        return _not_tracked(error, key)
    return MlflowTracker(writer, Sender(journal, experiment, send_others=False), experiment, trouble)


def _not_tracked(error: BaseException, key: str) -> NullTracker:
    if isinstance(error, Timeout):  # an OSError too, but not of the disk
        return NullTracker(f"another process is tracking the same run ({key}): this one is not tracked")
    if isinstance(error, OSError):
        return NullTracker(f"the run's journal cannot be written: {error}")
    return NullTracker(f"the run's journal is damaged ({type(error).__name__}: {error}): the run is not tracked")
