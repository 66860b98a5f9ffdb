"""The local record of one run: what was logged, in order, and how much of it a store is known to hold.

A journal is the folder `<root>/runs/tracking/<key>/`:
- events.jsonl: one JSON object a line, append-only; a line torn by a kill is skipped by readers;
- files/: copies of the artifacts that no store is known to hold yet; a folder each, named so that they sort by age;
- run.json: which run of which store this is, once that is known;
- sent.json: how many bytes of events.jsonl were sent, and whether a sending was under way.

It knows nothing of MLflow. It does not send: `delivery` does.
"""

import errno
import json
import os
import shutil
import time
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gptmodel.files import read_json, write_json
from gptmodel.tracking.events import Event, is_event, is_sent_mark


@dataclass(frozen=True, kw_only=True)
class Sent:
    """How far a store has followed a journal."""

    offset: int = 0
    """Bytes of events.jsonl that the store holds."""
    sending: bool = False
    """The events after `offset` may have arrived too: a sending began and its end was not seen."""
    status: Event | None = None
    """A status before `offset` that the store has not been told yet."""


def tracking_folder(root: Path) -> Path:
    """Return the folder that holds all journals of a project."""
    return root / "runs" / "tracking"


def journals(root: Path) -> list["Journal"]:
    """Return all journals of a project, oldest first."""
    folders = [path.parent for path in tracking_folder(root).glob("*/events.jsonl")]
    return [Journal(root, folder.name) for folder in sorted(folders, key=lambda folder: folder.stat().st_ctime_ns)]


def now_ms() -> int:
    """Return the time of day in milliseconds, as MLflow counts it."""
    return time.time_ns() // 1_000_000


class Journal:
    """One journal as a reader sees it, and as the one who sends it marks it."""

    def __init__(self, root: Path, key: str) -> None:
        self.root = root
        self.key = key
        self.folder = tracking_folder(root) / key
        self.events_file = self.folder / "events.jsonl"
        self.files_folder = self.folder / "files"
        self.alive_lock = self.folder / "alive.lock"  # held as long as the training process lives
        self.send_lock = self.folder / "send.lock"  # held while one process sends

    @property
    def size(self) -> int:
        """Bytes of events so far."""
        return self.events_file.stat().st_size if self.events_file.exists() else 0

    @property
    def pending(self) -> bool:
        """Whether anything is not known to be in a store."""
        sent = self.sent()
        return self.size > sent.offset or sent.status is not None or bool(self.files())

    def read(self, offset: int = 0, limit: int | None = None) -> tuple[list[Event], int]:
        """Return the whole events from a byte offset on, at most `limit`, and the offset behind them."""
        events: list[Event] = []
        if not self.events_file.exists():
            return events, offset
        if not self.events_file.is_file():  # a pipe would be waited for
            raise OSError(errno.EINVAL, "no regular file", str(self.events_file))
        with self.events_file.open("rb") as stream:
            stream.seek(offset)
            for line in stream:
                if not line.endswith(b"\n") or (limit is not None and len(events) >= limit):
                    break
                offset += len(line)
                try:
                    event = json.loads(line)
                except (ValueError, RecursionError):  # torn by a kill or a full disk, or not written here
                    continue
                if is_event(event):
                    events.append(event)
        return events, offset

    def last_status(self) -> str | None:
        """Return the status that was logged last: None for a run that only later stages wrote to."""
        statuses = [event["value"] for event in self.read()[0] if event.get("kind") == "status"]
        return statuses[-1] if statuses else None

    def files(self) -> list[tuple[Path, Path, str]]:
        """Return the artifacts not known to be in a store: (entry, file, folder among the artifacts), oldest first."""
        artifacts = []
        for entry in sorted(self.files_folder.glob("[0-9]*")):
            for file in sorted(path for path in entry.rglob("*") if path.is_file()):
                folder = file.parent.relative_to(entry).as_posix()
                artifacts.append((entry, file, "" if folder == "." else folder))
        return artifacts

    def forget_file(self, entry: Path, file: Path) -> None:
        """Remove the copy of an artifact that a store holds now."""
        file.unlink(missing_ok=True)
        if not any(path.is_file() for path in entry.rglob("*")):
            shutil.rmtree(entry, ignore_errors=True)

    def sent(self) -> Sent:
        """Return how far the store is: nothing, if that is not known."""
        values = _read_mapping(self.folder / "sent.json")
        return Sent(**values) if is_sent_mark(values) and values["offset"] <= self.size else Sent()

    def mark_sent(self, sent: Sent) -> None:
        """Write down how far the store is."""
        write_json(self.folder / "sent.json", asdict(sent))

    def run(self) -> dict[str, str]:
        """Return `run_id`, `tracking_uri` and `experiment` of the run, or nothing while it is not known."""
        values = _read_mapping(self.folder / "run.json")
        return {name: value for name, value in values.items() if isinstance(value, str)}

    def mark_run(self, run_id: str, tracking_uri: str, experiment: str) -> None:
        """Write down which run of which store this journal is."""
        write_json(self.folder / "run.json", {"run_id": run_id, "tracking_uri": tracking_uri, "experiment": experiment})


class JournalWriter:
    """Appends to a journal, but never what is in it already: a resumed run logs its last iterations again.

    With `again` the same metric may come twice for a step, as evaluating a model a second time does; then only a
    value that differs from the last one is written.
    """

    def __init__(self, journal: Journal, again: bool = False) -> None:
        self.journal = journal
        self._again = again
        self._params: dict[str, str] = {}
        self._tags: dict[str, str] = {}
        self._points: dict[tuple[str, int], float] = {}
        journal.folder.mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(journal.events_file, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        self._torn = self._ends_torn()
        events = journal.read()[0]
        self._is_empty = not events
        for event in events:
            self._remember(event)

    def begin(self, experiment: str, name: str | None, imported: bool) -> bool:
        """Append the first event, from which the run is created, to an empty journal; return whether it was empty."""
        if self._is_empty:
            self.event("start", experiment=experiment, name=name, ms=now_ms(), imported=imported)
        return self._is_empty

    def params(self, params: Mapping[str, str]) -> None:
        """Append settings that have no value yet."""
        if new := {key: value for key, value in params.items() if key not in self._params}:
            self._append({"kind": "params", "values": new})

    def tags(self, tags: Mapping[str, str]) -> None:
        """Append tags that have another value, or none yet."""
        if new := {key: value for key, value in tags.items() if self._tags.get(key) != value}:
            self._append({"kind": "tags", "values": new})

    def metrics(self, metrics: Mapping[str, float], step: int, timestamp_ms: int) -> None:
        """Append the points that are not in the journal."""
        if new := {key: value for key, value in metrics.items() if self._is_new_point(key, step, value)}:
            self._append({"kind": "metrics", "values": new, "step": step, "ms": timestamp_ms, "again": self._again})

    def event(self, kind: str, **values: Any) -> None:
        """Append an event of another kind as it is."""
        self._append({"kind": kind, **values})

    def file(self, path: Path, folder: str) -> None:
        """Copy a file into the journal; the copy is either whole or absent."""
        self.journal.files_folder.mkdir(exist_ok=True)
        building = self.journal.files_folder / f"tmp-{uuid.uuid4().hex}"
        target = building / folder / path.name
        target.parent.mkdir(parents=True)
        try:
            shutil.copyfile(path, target)
            with target.open("rb+") as stream:
                os.fsync(stream.fileno())
            building.rename(self.journal.files_folder / f"{time.time_ns():020d}-{uuid.uuid4().hex[:8]}")
        except OSError:
            shutil.rmtree(building, ignore_errors=True)
            raise

    def sync(self) -> None:
        """Put what was appended on the disk."""
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Sync and let go of the file."""
        try:
            self.sync()
        finally:
            os.close(self._descriptor)
            self._descriptor = -1  # another file may get the number

    def _is_new_point(self, key: str, step: int, value: float) -> bool:
        if (key, step) not in self._points:
            return True
        return self._again and repr(self._points[key, step]) != repr(value)  # repr: NaN is not new each time

    def _append(self, event: Event) -> None:
        line = json.dumps(event, ensure_ascii=False).encode("utf-8", errors="replace") + b"\n"
        if self._torn:  # end the torn line, so that only that one is lost
            line = b"\n" + line
        self._torn = True
        written = os.write(self._descriptor, line)
        if written < len(line):
            raise OSError("the disk took only a part of a line")
        self._torn = False
        self._remember(event)

    def _remember(self, event: Event) -> None:
        kind, values = event.get("kind"), event.get("values", {})
        if kind == "params":
            self._params.update(values)
        elif kind == "tags":
            self._tags.update(values)
        elif kind == "metrics":
            self._points.update({(key, event["step"]): value for key, value in values.items()})

    def _ends_torn(self) -> bool:
        if os.lseek(self._descriptor, 0, os.SEEK_END) == 0:
            return False
        os.lseek(self._descriptor, -1, os.SEEK_END)
        return os.read(self._descriptor, 1) != b"\n"


def _read_mapping(path: Path) -> dict[str, Any]:
    if not path.is_file():  # a pipe would be waited for
        return {}
    try:
        value = read_json(path)
    except (OSError, ValueError):  # spoilt by a power cut: the store is asked instead
        return {}
    return value if isinstance(value, dict) else {}
