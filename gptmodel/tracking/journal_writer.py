"""What appends to a journal: it loses nothing, and writes nothing twice."""

import json
import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gptmodel.files import atomic_write
from gptmodel.tracking.events import Event
from gptmodel.tracking.journal import Journal, now_ms


class JournalWriter:
    """Appends to a journal, but never what is in it already: a resumed run logs its last iterations again.

    With `again` the same metric may come twice for a step, as evaluating a model a second time does; then only a
    value that differs from the last one is written, and dated behind it, even if the clock was set back in between.
    When somebody removes the journal, as by `rm -r runs`, it is written anew, and `removed` says so: the system keeps a
    file that is open.
    """

    def __init__(self, journal: Journal, again: bool = False) -> None:
        self.journal = journal
        self.removed = False
        self._again = again
        self._params: dict[str, str] = {}
        self._tags: dict[str, str] = {}
        self._points: dict[tuple[str, int], tuple[float, int]] = {}  # value and milliseconds
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
            if self._again:
                former = [self._points[key, step][1] for key in new if (key, step) in self._points]
                timestamp_ms = max(timestamp_ms, max(former, default=0) + 1)
            self._append({"kind": "metrics", "values": new, "step": step, "ms": timestamp_ms, "again": self._again})

    def event(self, kind: str, **values: Any) -> None:
        """Append an event of another kind as it is."""
        self._append({"kind": kind, **values})

    def file(self, path: Path, folder: str) -> None:
        """Copy a file into the journal, behind those that wait there; the copy is either whole or absent."""
        self._come_back()
        self.journal.files_folder.mkdir(exist_ok=True)
        building = self.journal.files_folder / f"tmp-{uuid.uuid4().hex}"
        target = building / folder / path.name
        target.parent.mkdir(parents=True)
        try:
            shutil.copyfile(path, target)
            with target.open("rb+") as stream:
                os.fsync(stream.fileno())
            building.rename(self.journal.files_folder / f"{self.journal.next_entry:020d}-{uuid.uuid4().hex[:8]}")
        except BaseException:
            shutil.rmtree(building, ignore_errors=True)
            raise

    def sync(self) -> None:
        """Put what was appended on the disk."""
        self._come_back()
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
        return self._again and repr(self._points[key, step][0]) != repr(value)  # repr: NaN is not new each time

    def _come_back(self) -> None:
        """Write all that was ever appended into a new file, if the one that is open has no name any more."""
        if os.fstat(self._descriptor).st_nlink:
            return
        size = os.fstat(self._descriptor).st_size
        content = os.pread(self._descriptor, size, 0)
        if len(content) < size:
            raise OSError("the disk gave only a part of the journal")
        atomic_write(self.journal.events_file, content)
        descriptor = os.open(self.journal.events_file, os.O_RDWR | os.O_APPEND)
        os.close(self._descriptor)
        self._descriptor = descriptor
        self.removed = True

    def _append(self, event: Event) -> None:
        self._come_back()
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
            self._points.update({(key, event["step"]): (value, event["ms"]) for key, value in values.items()})

    def _ends_torn(self) -> bool:
        if os.lseek(self._descriptor, 0, os.SEEK_END) == 0:
            return False
        os.lseek(self._descriptor, -1, os.SEEK_END)
        return os.read(self._descriptor, 1) != b"\n"
