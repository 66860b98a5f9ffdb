"""Ways to make a run without a sender, and to look at what arrived in a store."""

import os
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

from gptmodel.errors import GptModelError
from gptmodel.tracking.journal import Journal
from gptmodel.tracking.journal_writer import JournalWriter
from gptmodel.tracking.sync import send_all

REPOSITORY = Path(__file__).resolve().parents[2]
CLEAN = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "DVC_"))}
ENVIRONMENT = CLEAN | {"PYTHONPATH": str(REPOSITORY), "MLFLOW_DISABLE_TELEMETRY": "true"}


def client(root: Path) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=f"sqlite:///{root}/mlflow.db")


class Unsent(GptModelError):
    """What `sync` below could not send, with the lines on what it did."""

    def __init__(self, failure: str, lines: list[str]) -> None:
        super().__init__(failure)
        self.lines = lines


def sync(root: Path, experiment: str | None = None) -> list[str]:
    """Send what the store lacks, as `gptmodel sync` does, but in this process, which has imported MLflow."""
    lines: list[str] = []
    failure = send_all(root, experiment, lambda *_: None, lines.append)
    if failure is not None:
        raise Unsent(failure, lines)
    return lines


def only_run(root: Path) -> Any:
    """Return the store's run, of which there has to be exactly one."""
    store = client(root)
    numbers = [experiment.experiment_id for experiment in store.search_experiments()]
    runs = store.search_runs(numbers)
    assert len(runs) == 1, f"expected one run, found {len(runs)}"
    return runs[0]


def history(root: Path, key: str) -> list[tuple[int, float]]:
    """Return the points of a metric in the store, in order of step."""
    points = client(root).get_metric_history(only_run(root).info.run_id, key)
    return sorted((point.step, point.value) for point in points)


def new_key() -> str:
    return uuid.uuid4().hex


def start_journal(root: Path, key: str, imported: bool = False) -> JournalWriter:
    """Begin a journal as a tracker does, with nobody sending it."""
    writer = JournalWriter(Journal(root, key), again=imported)
    writer.event("start", experiment="exp", name="name", ms=1_700_000_000_000, imported=imported)
    if not imported:
        writer.event("status", value="RUNNING", ms=None)
    return writer


def finish_journal(writer: JournalWriter) -> None:
    writer.event("status", value="FINISHED", ms=1_700_000_009_000)
    writer.close()


def python(code: str, *arguments: object, **environment: str) -> "subprocess.Popen[str]":
    """Start a Python process that can import the project."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=ENVIRONMENT | environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
