"""What a run can be told to remember: the `Tracker` protocol, and the tracker that remembers nothing.

A tracker can never hurt a run: no method raises because a disk, a store or a server fails, and none waits for one,
except `close` and `describe`, for seconds. What went wrong is one line in `problem`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Protocol

Status = Literal["FINISHED", "FAILED", "KILLED"]
Value = str | int | float | bool | None


class Tracker(Protocol):
    """Where the parameters, metrics and files of one run go."""

    @property
    def problem(self) -> str | None:
        """One line for the user about what could not be tracked or sent, if anything; complete after `close`."""

    def log_params(self, params: Mapping[str, Value]) -> None:
        """Remember settings; the first value of a name stands."""

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Remember properties; the last value of a name stands."""

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Remember a point of each metric, taken at `step` and now."""

    def log_artifact(self, path: Path, folder: str = "") -> None:
        """Remember a file as it is now, or each file of a folder but hidden ones, below `folder` of the artifacts."""

    def log_dataset(self, name: str, digest: str, source: str, tags: Mapping[str, str]) -> None:
        """Remember what the run trains on, by name and digest: no data is copied."""

    def flush(self) -> None:
        """Put all of the above on the disk, and ask for it to be sent; returns without waiting for that."""

    def describe(self, wait: float = 5.0) -> dict[str, str | None]:
        """Return what a later stage needs to find this run: `journal`, `run_id` (None: not known yet), `experiment`.

        Waits at most `wait` seconds for the run id.
        """

    def close(self, status: Status | None) -> None:
        """End the run, or leave its status and times alone (None), and wait some seconds for it to be sent."""


class NullTracker:
    """A tracker that remembers nothing."""

    def __init__(self, problem: str | None = None) -> None:
        self.problem = problem

    def log_params(self, params: Mapping[str, Value]) -> None: ...

    def set_tags(self, tags: Mapping[str, str]) -> None: ...

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None: ...

    def log_artifact(self, path: Path, folder: str = "") -> None: ...

    def log_dataset(self, name: str, digest: str, source: str, tags: Mapping[str, str]) -> None: ...

    def flush(self) -> None: ...

    def describe(self, wait: float = 0.0) -> dict[str, str | None]:  # noqa: ARG002
        return {"journal": None, "run_id": None, "experiment": None}

    def close(self, status: Status | None) -> None: ...
