"""What delivery needs of the place that runs are sent to."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from gptmodel.tracking.events import Event

BRIEF, LONG = 8.0, 30.0  # seconds in which an answer, or a longer piece of work, is expected
SLOWEST_UPLOAD = 100_000  # bytes a second, to which a large file is entitled

NO_STORE = ""
"""The identity of a store that has nothing, or whose identity nobody can know."""

Report = Callable[[str, float], None]
"""Is told what begins now, and the seconds after which to stop waiting for it."""


class Point(NamedTuple):
    """A metric point as a store holds it."""

    key: str
    value: float
    timestamp_ms: int
    step: int


class RejectedError(Exception):
    """The store answered that it will never take what it was sent."""


class DeletedError(Exception):
    """The user deleted the run in the store."""

    def __init__(self, run_id: str) -> None:
        super().__init__(f"run {run_id} was deleted in MLflow: what it logs is kept in its journal only")
        self.run_id = run_id


class ExperimentDeletedError(Exception):
    """The user deleted the experiment of the run in the store; the message says how that is undone."""


class Store(Protocol):
    """What delivery needs of a store; every method may raise any error when the store is out of reach."""

    def connect(self, report: Report) -> None:
        """Open the store, or see quickly that it cannot be used; again before each delivery."""

    @property
    def identity(self) -> str:
        """Tell this store from one that took its place or stands at another address; the same in a copy of it."""

    def find_run(self, run_id: str | None, key: str, experiment: str) -> str | None:
        """Return the run with this id or, without one, with the tag of this journal, if it exists.

        May raise DeletedError or ExperimentDeletedError.
        """

    def create_run(self, key: str, experiment: str, name: str | None, start_ms: int, imported: bool) -> str:
        """Create the run of a journal, in status RUNNING; may raise ExperimentDeletedError."""

    def stored_files(self, run_id: str) -> list[tuple[Path, str]]:
        """Return the artifacts of a run that lie in the project, each with its folder among the artifacts."""

    def points(self, run_id: str, key: str) -> list[Point]:
        """Return all points of a metric."""

    def send(self, run_id: str, kind: str, items: Sequence[Any]) -> None:
        """Add Points, or pairs of name and text that are params or tags; may raise RejectedError."""

    def send_dataset(self, run_id: str, dataset: Event) -> None:
        """Say what the run read; may raise RejectedError."""

    def send_file(self, run_id: str, path: Path, folder: str) -> None:
        """Store an artifact in place of one of the same name."""

    def set_status(self, run_id: str, status: str, end_ms: int | None) -> None:
        """Set a run's status and, unless it is RUNNING, its end."""
