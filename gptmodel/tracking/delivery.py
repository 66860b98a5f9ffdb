"""Brings a store up to date with journals, exactly once, whatever was interrupted before.

Before a batch is sent, the journal is marked `sending`, and after it, how far the store is. A mark that still says
`sending` at the next round means that a kill or a failure came between: then the store is asked which points it holds,
and only the missing ones are sent. Everything else (parameters, tags, data sets, artifacts, status) may be sent twice
without harm. It knows nothing of MLflow: it talks to a `Store`.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from filelock import FileLock

from gptmodel.tracking.events import Event
from gptmodel.tracking.journal import Journal, Sent
from gptmodel.tracking.store import (
    BRIEF,
    LONG,
    NO_STORE,
    SLOWEST_UPLOAD,
    DeletedError,
    ExperimentDeletedError,
    Point,
    RejectedError,
    Report,
    Store,
)

CHUNK_EVENTS = 400
BATCH_ITEMS = {"metric": 1000, "param": 100, "tag": 100}  # what a server takes in one request
LOCK_SECONDS = 5.0
DEFAULT_EXPERIMENT = "gptmodel"

Histories = dict[str, dict[int, list[Point]]]
"""The points that a run has, by metric and step: those that were asked for, and those sent since then."""


class Delivery:
    """Sends journals to one store, and remembers from one round to the next which run is whose.

    `experiment` is where a run goes whose own experiment was deleted in the store, if it is another one.
    """

    def __init__(self, store: Store, report: Report, experiment: str | None = None) -> None:
        self.refused: list[str] = []
        self._store = store
        self._report = report
        self._experiment = experiment
        self._runs: dict[str, str] = {}

    def send(self, journal: Journal) -> int:
        """Send what is pending and return how far the store is; raises when the store cannot be used now.

        A journal that was removed meanwhile makes no run: its name and experiment come when it is written anew.
        """
        self._store.connect(self._report)
        with FileLock(journal.send_lock, timeout=LOCK_SECONDS):
            if not journal.size and not journal.files():
                return 0
            self._report("finding the run", BRIEF)
            try:
                run_id, sent = self._run(journal)
            except DeletedError as error:
                self.refused.append(str(error))
                return self._drop(journal, error.run_id)
            histories: Histories = {}  # a long run's are large: each is asked for once
            while True:
                events, end = journal.read(sent.offset, CHUNK_EVENTS)
                if end == sent.offset:
                    break
                doubtful, sent = sent.sending, replace(sent, sending=True)
                journal.mark_sent(sent)
                self._send_events(run_id, events, histories if doubtful else None)
                statuses = [event for event in events if event.get("kind") == "status"]
                status = statuses[-1] if statuses else sent.status
                # a doubt lasts until the end: the mark may be older than the last batch that arrived
                sent = Sent(offset=end, sending=doubtful, status=status)
                journal.mark_sent(sent)
            self._finish(journal, run_id, sent)
            return sent.offset

    def _finish(self, journal: Journal, run_id: str, sent: Sent) -> None:
        """Send the artifacts and then the status; a file that cannot be stored does not hold the status back."""
        failure: Exception | None = None
        for entry, file, folder in journal.files():
            try:
                self._send_file(run_id, file, folder)
            except Exception as error:  # whatever it was, it is raised below
                failure = error
                break
            journal.forget_file(entry, file)
        if sent.status is not None:
            self._report("setting the status", BRIEF)
            self._store.set_status(run_id, sent.status["value"], sent.status["ms"])
        if sent.status is not None or sent.sending:
            journal.mark_sent(Sent(offset=sent.offset))
        if failure is not None:
            raise failure

    def _drop(self, journal: Journal, run_id: str) -> int:
        """Stop sending what nobody wants: the journal itself stays, and is sent whole if the run is restored."""
        journal.mark_run(run_id, _experiment(journal), NO_STORE, deleted_in=self._store.identity)
        for entry, file, _ in journal.files():
            journal.forget_file(entry, file)
        sent = Sent(offset=journal.size)
        journal.mark_sent(sent)
        return sent.offset

    def lacks(self, journal: Journal) -> bool:
        """Whether the store may lack what a journal has sent: to another store, or while its run was deleted.

        The store has to be connected.
        """
        mark, identity = journal.run(), self._store.identity
        if mark.get("store") == identity or not journal.size:
            return False
        self._report("looking for a run", BRIEF)
        experiment = _experiment(journal)
        try:
            run_id = self._store.find_run(mark.get("run_id"), journal.key, experiment)
        except (DeletedError, ExperimentDeletedError):
            return False
        if run_id is None and identity and mark.get("deleted_in") == identity:
            return False  # it was deleted there, and then for good
        if run_id is None or run_id != mark.get("run_id") or "store" in mark:
            return True
        journal.mark_run(run_id, experiment, identity)  # an older version did not write down whose run that is
        return False

    def _run(self, journal: Journal) -> tuple[str, Sent]:
        """Return the journal's run, an old one or a new one, and how far it is."""
        sent, mark = journal.sent(), journal.run()
        if mark and (run_id := self._runs.get(journal.key)):
            return run_id, sent
        start = next(iter(journal.read(0, 1)[0]), {})
        experiment, run_id = self._find_run(journal, mark.get("run_id"), _experiment(journal))
        if run_id is None:  # a new run, or one that this store does not hold: it gets all there is
            imported = bool(mark.get("run_id") or start.get("imported"))
            name, start_ms = start.get("name"), int(start.get("ms", 0))
            run_id = self._store.create_run(journal.key, experiment, name, start_ms, imported)
            sent = Sent()
            if imported and journal.last_status() is None:
                self._store.set_status(run_id, "FINISHED", None)
        elif sent.offset == 0 or mark.get("store", self._store.identity) != self._store.identity:
            sent = Sent(sending=True)  # nobody remembers what that run was sent
        if (former := mark.get("run_id", run_id)) != run_id:
            for file, folder in self._store.stored_files(former):
                self._send_file(run_id, file, folder)
        journal.mark_sent(sent)
        journal.mark_run(run_id, experiment, self._store.identity)
        self._runs[journal.key] = run_id
        return run_id, sent

    def _find_run(self, journal: Journal, run_id: str | None, experiment: str) -> tuple[str, str | None]:
        """Return the experiment that the run belongs into, and the run, if there is one."""
        try:
            return experiment, self._store.find_run(run_id, journal.key, experiment)
        except ExperimentDeletedError:
            if self._experiment in (None, experiment):
                raise
        return self._experiment, self._store.find_run(None, journal.key, self._experiment)

    def _send_file(self, run_id: str, file: Path, folder: str) -> None:
        self._report(f"sending {file.name}", LONG + file.stat().st_size / SLOWEST_UPLOAD)
        self._store.send_file(run_id, file, folder)

    def _send_events(self, run_id: str, events: list[Event], histories: Histories | None) -> None:
        """Send events; of the points, where there is doubt, only those that `histories` and the store lack."""
        points = [
            Point(key, float(value), event["ms"], event["step"])
            for event in events
            if event.get("kind") == "metrics"
            for key, value in event["values"].items()
        ]
        if histories is not None:
            again = {(key, e["step"]) for e in events if e.get("again") for key in e["values"]}
            points = self._missing(run_id, points, again, histories)
        items: dict[str, list[Any]] = {}
        for kind in ("param", "tag"):
            merged = {name: text for e in events if e.get("kind") == f"{kind}s" for name, text in e["values"].items()}
            items[kind] = list(merged.items())
        items["metric"] = points
        for kind, of_kind in items.items():
            for start in range(0, len(of_kind), BATCH_ITEMS[kind]):
                self._report(f"sending {kind}s", BRIEF)
                self._send_batch(run_id, kind, of_kind[start : start + BATCH_ITEMS[kind]])
        for event in events:
            if event.get("kind") == "dataset":
                self._report("sending a data set", BRIEF)
                try:
                    self._store.send_dataset(run_id, event)
                except RejectedError as error:
                    self.refused.append(str(error))

    def _missing(
        self, run_id: str, points: list[Point], again: set[tuple[str, int]], histories: Histories
    ) -> list[Point]:
        """Return the points that the run lacks.

        A step has one point of a metric; or, of one that may come again, one for each time the value changed.
        """
        missing = []
        for point in points:
            if point.key not in histories:
                self._report("asking for metrics", BRIEF)
                by_step = histories[point.key] = {}
                for other in self._store.points(run_id, point.key):
                    by_step.setdefault(other.step, []).append(other)
            there = histories[point.key].setdefault(point.step, [])
            is_there = bool(there)
            if there and (point.key, point.step) in again:
                newest = max(there, key=lambda other: other.timestamp_ms)
                is_there = repr(newest.value) == repr(point.value)
                is_there = is_there or any(other.timestamp_ms == point.timestamp_ms for other in there)
            if not is_there:
                missing.append(point)
                there.append(point)
        return missing

    def _send_batch(self, run_id: str, kind: str, items: list[Any]) -> None:
        """Send items; when the store rejects them, halve them until only those it rejects are left out."""
        try:
            self._store.send(run_id, kind, items)
        except RejectedError as error:
            if len(items) == 1:
                self.refused.append(f"{kind} {items[0][0]}: {error}")
                return
            self._send_batch(run_id, kind, items[: len(items) // 2])
            self._send_batch(run_id, kind, items[len(items) // 2 :])


def _experiment(journal: Journal) -> str:
    """Return the experiment that a journal's run is in, or is to be made in."""
    start: Event = next(iter(journal.read(0, 1)[0]), {})
    return str(journal.run().get("experiment") or start.get("experiment") or DEFAULT_EXPERIMENT)
