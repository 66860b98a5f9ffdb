"""A tracker that writes a journal, and has it sent by a helper process."""

from collections.abc import Callable, Mapping
from pathlib import Path

from filelock import FileLock, Timeout

from gptmodel.tracking.base import Status, Value
from gptmodel.tracking.journal import Journal, JournalWriter, now_ms
from gptmodel.tracking.sender import Sender

ALIVE_SECONDS = 3.0


class JournalTracker:
    """A `Tracker` of the run whose journal is `key`; does nothing before `start` or `attach`."""

    def __init__(self, root: Path, key: str, experiment: str, address: str) -> None:
        self._experiment = experiment
        self._address = address
        self._journal = Journal(root.resolve(), key)
        self._alive = FileLock(self._journal.alive_lock, timeout=ALIVE_SECONDS)
        self._writer: JournalWriter | None = None
        self._sender: Sender | None = None
        self._trouble: str | None = None
        self._closed = False

    def start(self, run_name: str | None) -> None:
        """Begin the run, or go on with it where its process was killed."""

        def work() -> None:
            self._journal.folder.mkdir(parents=True, exist_ok=True)
            self._alive.acquire()
            self._writer = JournalWriter(self._journal)
            self._open_journal(run_name, imported=False)
            self._writer.event("status", value="RUNNING", ms=None)
            self._sender = Sender(self._journal, send_others=True)

        try:
            self._guard(work)
        except Timeout:
            self._trouble = f"another process is tracking the same run ({self._journal.key}): this one is not tracked"

    def attach(self, run_id: str | None) -> None:
        """Add to a run that has ended, or to the run with this id if its journal is not here."""

        def work() -> None:
            self._writer = JournalWriter(self._journal, again=True)
            if self._open_journal(None, imported=True) and run_id:
                self._journal.mark_run(run_id, self._address, self._experiment)
            self._sender = Sender(self._journal, send_others=False)

        self._guard(work)

    @property
    def problem(self) -> str | None:
        sender = self._sender
        if self._trouble or sender is None:
            return self._trouble
        if sender.failure:
            kept = self._journal.folder.relative_to(self._journal.root).as_posix()
            return (
                f"MLflow at {self._address}: {sender.failure}; the run is kept in {kept}, send it later: gptmodel sync"
            )
        return f"MLflow refused {'; '.join(sender.refused)}" if sender.refused else None

    def log_params(self, params: Mapping[str, Value]) -> None:
        texts = {key: str(value) for key, value in params.items()}
        self._write(lambda writer: writer.params(texts))

    def set_tags(self, tags: Mapping[str, str]) -> None:
        texts = {key: str(value) for key, value in tags.items()}
        self._write(lambda writer: writer.tags(texts))

    def log_metrics(self, metrics: Mapping[str, float], step: int, timestamp_ms: int | None = None) -> None:
        points = {key: float(value) for key, value in metrics.items()}
        when = now_ms() if timestamp_ms is None else timestamp_ms
        self._write(lambda writer: writer.metrics(points, step, when))

    def log_artifact(self, path: Path, folder: str = "") -> None:
        def write(writer: JournalWriter) -> None:
            files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
            for file in files:
                below = file.parent.relative_to(path) if path.is_dir() else Path()
                writer.file(file, (Path(folder) / below).as_posix())

        self._write(write)

    def log_dataset(self, name: str, digest: str, source: str, context: str, tags: Mapping[str, str]) -> None:
        values = {"name": name, "digest": digest, "source": source, "context": context, "tags": dict(tags)}
        self._write(lambda writer: writer.event("dataset", **values))

    def flush(self) -> None:
        self._write(lambda writer: writer.sync())
        if self._sender is not None:
            self._sender.wake()

    def describe(self, wait: float = 5.0) -> dict[str, str | None]:
        if self._sender is not None and not self._closed:
            self._sender.wait_for_run(wait)
        return {
            "journal": self._journal.key,
            "run_id": self._journal.run().get("run_id"),
            "experiment": self._experiment,
        }

    def close(self, status: Status | None) -> None:
        if self._closed:
            return
        if status is not None:
            self._write(lambda writer: writer.event("status", value=status, ms=now_ms()))
        self._write(lambda writer: writer.close())
        self._closed, self._writer = True, None
        if self._sender is not None:
            self._sender.finish()
        self._alive.release()

    def _open_journal(self, name: str | None, imported: bool) -> bool:
        """Write the first event, from which the run is created, unless it is there; return whether it was not."""
        assert self._writer is not None
        if not self._writer.is_new:
            return False
        self._writer.event("start", experiment=self._experiment, name=name, ms=now_ms(), imported=imported)
        return True

    def _write(self, write: Callable[[JournalWriter], None]) -> None:
        writer = self._writer
        if writer is not None:
            self._guard(lambda: write(writer))

    def _guard(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Timeout:  # an OSError too, but not of the disk
            raise
        except OSError as error:
            self._trouble = f"the run's journal cannot be written: {error}"
