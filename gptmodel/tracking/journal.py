"""The local record of one run: what was logged, in order, and how much of it a store is known to hold.

A journal is the folder `<root>/runs/tracking/<key>/`:
- events.jsonl: one JSON object a line, append-only; a line torn by a kill is skipped by readers;
- files/: copies of the artifacts that no store is known to hold yet; a folder each, numbered in order;
- run.json: which run of which store this is, once that is known;
- sent.json: how many bytes of events.jsonl were sent, and whether a sending was under way.

Nothing in it is an absolute path, so that it can be copied and moved. It knows nothing of MLflow. `journal_writer`
writes it, and `delivery` sends it.
"""

import errno
import json
import re
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from gptmodel.files import read_mapping, write_json
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
    return [Journal(root, folder.name) for folder in sorted(folders, key=_changed_ns)]


def _changed_ns(folder: Path) -> int:
    try:
        return folder.stat().st_ctime_ns
    except OSError:  # removed meanwhile
        return 0


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
        """Return the artifacts not known to be in a store, in order: (entry, file, folder among the artifacts)."""
        return [(entry, file, folder) for entry in self._entries() for file, folder in artifacts_below(entry)]

    @property
    def next_entry(self) -> int:
        """The number of the next folder of artifacts: above those that wait, whatever the clock says."""
        numbers = [int(entry.name.partition("-")[0]) for entry in self._entries()]
        return max(numbers, default=0) + 1

    def _entries(self) -> list[Path]:
        return sorted(path for path in self.files_folder.glob("*") if re.fullmatch(r"\d{20}-[0-9a-f]{8}", path.name))

    def forget_file(self, entry: Path, file: Path) -> None:
        """Remove the copy of an artifact that a store holds now."""
        file.unlink(missing_ok=True)
        if not any(path.is_file() for path in entry.rglob("*")):
            shutil.rmtree(entry, ignore_errors=True)

    def sent(self) -> Sent:
        """Return how far the store is: nothing, if that is not known, as after a power cut that spoilt the mark."""
        values = read_mapping(self.folder / "sent.json")
        return Sent(**values) if is_sent_mark(values) and values["offset"] <= self.size else Sent()

    def mark_sent(self, sent: Sent) -> None:
        """Write down how far the store is."""
        write_json(self.folder / "sent.json", asdict(sent))

    def run(self) -> dict[str, str]:
        """Return `run_id`, `experiment` and `store` of the run, or nothing while it is not known.

        `store` is the identity of the store that was sent all that `sent` says; it is absent where nobody knows.
        `deleted_in` is that of the store in which the user had deleted the run when it was to be sent something.
        """
        values = read_mapping(self.folder / "run.json")
        return {name: value for name, value in values.items() if isinstance(value, str)}

    def mark_run(self, run_id: str, experiment: str, store: str | None = None, deleted_in: str | None = None) -> None:
        """Write down which run of which store this journal is."""
        values = {"run_id": run_id, "experiment": experiment, "store": store, "deleted_in": deleted_in}
        write_json(self.folder / "run.json", {name: text for name, text in values.items() if text is not None})


def artifacts_below(folder: Path) -> list[tuple[Path, str]]:
    """Return the files below a folder, each with its own folder among the artifacts, "" for the topmost."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [(file, "" if file.parent == folder else file.parent.relative_to(folder).as_posix()) for file in files]
