"""Delivery is exactly once, for a failure or a kill at any moment; here with a store that never mends a repetition."""

# ruff: noqa: ARG002  a ListStore has the methods of a Store, and uses less of them

import shutil
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from tracking_helpers import finish_journal, new_key, start_journal

from gptmodel.tracking.delivery import BATCH_ITEMS, Delivery
from gptmodel.tracking.events import Event
from gptmodel.tracking.journal import Journal
from gptmodel.tracking.journal_writer import JournalWriter
from gptmodel.tracking.liveness import end_if_dead, is_unsent
from gptmodel.tracking.store import Point, RejectedError, Report


class Down(Exception):
    """What a store that is out of reach raises."""


class ListStore:
    """A store in lists: it keeps all it is sent, as often as it is sent. It fails at its nth call, before or after."""

    identity = "list"

    def __init__(self) -> None:
        self.runs: dict[str, dict[str, Any]] = {}
        self.calls = 0
        self.fail_at: int | None = None
        self.fail_after_effect = False

    def _call(self, effect: Any) -> Any:
        self.calls += 1
        failing = self.calls == self.fail_at
        if failing and not self.fail_after_effect:
            raise Down
        result = effect()
        if failing:
            raise Down
        return result

    def connect(self, report: Report) -> None:
        self._call(lambda: None)

    def find_run(self, run_id: str | None, key: str, experiment: str) -> str | None:
        same_key = next((other for other, run in self.runs.items() if run["key"] == key), None)
        return self._call(lambda: run_id if run_id in self.runs else same_key)  # type: ignore[no-any-return]

    def create_run(self, key: str, experiment: str, name: str | None, start_ms: int, imported: bool) -> str:
        run_id = f"run{len(self.runs)}"
        new: dict[str, Any] = {"key": key, "experiment": experiment, "name": name, "metric": []}
        new |= {"param": [], "tag": [], "files": {}, "data": [], "status": ["RUNNING"]}
        self._call(lambda: self.runs.update({run_id: new}))
        return run_id

    def stored_files(self, run_id: str) -> list[tuple[Path, str]]:
        return []

    def points(self, run_id: str, key: str) -> list[Point]:
        return self._call(lambda: [p for p in self.runs[run_id]["metric"] if p.key == key])  # type: ignore[no-any-return]

    def send(self, run_id: str, kind: str, items: Sequence[Any]) -> None:
        assert 0 < len(items) <= BATCH_ITEMS[kind]
        if any(item[0] == "bad" for item in items):
            raise RejectedError("bad name")
        self._call(lambda: self.runs[run_id][kind].extend(items))

    def send_dataset(self, run_id: str, dataset: Event) -> None:
        self._call(lambda: self.runs[run_id]["data"].append(dataset["name"]))

    def send_file(self, run_id: str, path: Path, folder: str) -> None:
        self._call(lambda: self.runs[run_id]["files"].update({f"{folder}/{path.name}": path.read_bytes()}))

    def set_status(self, run_id: str, status: str, end_ms: int | None) -> None:
        self._call(lambda: self.runs[run_id]["status"].append(status))


def deliver(store: ListStore, journal: Journal) -> list[str]:
    delivery = Delivery(store, lambda *_: None)
    assert delivery.send(journal) == journal.size
    assert not journal.pending
    return delivery.refused


def small_run(root: Path) -> Journal:
    writer = start_journal(root, new_key())
    writer.params({"p": "1"})
    for step in range(6):
        writer.metrics({"loss": float(step), "speed": 1.0}, step, 1000 + step)
    file = root / "model.pth"
    file.write_bytes(b"model")
    writer.file(file, "model")
    finish_journal(writer)
    return writer.journal


def check(store: ListStore) -> None:
    [run] = store.runs.values()
    assert sorted((p.key, p.step) for p in run["metric"]) == [(k, s) for k in ("loss", "speed") for s in range(6)]
    assert dict(run["param"]) == {"p": "1"}
    assert run["files"] == {"model/model.pth": b"model"}
    assert run["status"][-1] == "FINISHED"


@pytest.mark.parametrize("fail_after_effect", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("forgotten", [(), ("sent.json",), ("run.json",), ("sent.json", "run.json")], ids=str)
def test_a_failure_at_any_call_neither_loses_nor_repeats(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fail_after_effect: bool, forgotten: tuple[str, ...]
) -> None:
    monkeypatch.setattr("gptmodel.tracking.delivery.CHUNK_EVENTS", 3)
    monkeypatch.setattr("gptmodel.files.os.fsync", lambda _: None)
    at = 0
    while True:
        at += 1
        store = ListStore()
        store.fail_at, store.fail_after_effect = at, fail_after_effect
        journal = small_run(tmp_path)
        try:
            deliver(store, journal)
        except Down:
            for name in forgotten:  # as after a power cut that came before the disk had them
                (journal.folder / name).unlink(missing_ok=True)
            deliver(store, journal)
        else:
            break
        check(store)
    assert at > 8


def test_the_same_sender_goes_on_after_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gptmodel.tracking.delivery.CHUNK_EVENTS", 3)
    journal, store = small_run(tmp_path), ListStore()
    delivery = Delivery(store, lambda *_: None)
    store.fail_after_effect = True
    for _ in range(30):
        store.fail_at = store.calls + 4  # the fourth call of each round arrives, but its answer does not
        try:
            delivery.send(journal)
        except Down:
            continue
        break
    check(store)


def test_a_history_is_asked_for_once_however_long_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gptmodel.tracking.delivery.CHUNK_EVENTS", 3)
    journal, store, asked = small_run(tmp_path), ListStore(), list[str]()
    deliver(store, journal)
    (journal.folder / "sent.json").unlink()
    points = store.points
    monkeypatch.setattr(store, "points", lambda run_id, key: asked.append(key) or points(run_id, key))
    deliver(store, journal)
    check(store)
    assert sorted(asked) == ["loss", "speed"]


def test_a_second_evaluation_is_sent_once_when_in_doubt(tmp_path: Path) -> None:
    journal, store = small_run(tmp_path), ListStore()
    deliver(store, journal)
    writer = JournalWriter(journal, again=True)
    for ms, value in enumerate((1.0, 2.0, 1.0)):
        writer.metrics({"eval": value}, 0, ms)
    deliver(store, journal)
    (journal.folder / "sent.json").unlink()
    writer.metrics({"eval": 3.0}, 0, 4)
    deliver(store, journal)
    [run] = store.runs.values()
    assert [p.value for p in run["metric"] if p.key == "eval"] == [1.0, 2.0, 1.0, 3.0]


def test_what_is_rejected_does_not_hold_back_the_rest(tmp_path: Path) -> None:
    writer = start_journal(tmp_path, new_key())
    writer.params({"bad": "1", "good": "2"})
    for step in range(5):
        writer.metrics({"loss": 0.0, "bad": 0.0}, step, step)
    finish_journal(writer)
    store = ListStore()
    rejected = deliver(store, writer.journal)
    [run] = store.runs.values()
    assert run["param"] == [("good", "2")]
    assert [p.step for p in run["metric"]] == list(range(5))
    assert len(rejected) == 6
    assert run["status"][-1] == "FINISHED"


def test_a_file_that_cannot_be_stored_holds_back_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal, store = small_run(tmp_path), ListStore()
    with monkeypatch.context() as patch:
        patch.setattr(store, "send_file", lambda *_: (_ for _ in ()).throw(OSError("full")))
        with pytest.raises(OSError, match="full"):
            Delivery(store, lambda *_: None).send(journal)
    [run] = store.runs.values()
    assert run["status"][-1] == "FINISHED"
    assert len(run["metric"]) == 12
    assert journal.pending
    deliver(store, journal)
    check(store)


def test_a_status_is_told_though_more_was_logged_after_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gptmodel.tracking.delivery.CHUNK_EVENTS", 3)
    journal, store = small_run(tmp_path), ListStore()
    writer = JournalWriter(journal, again=True)
    for value in range(4):
        writer.metrics({"eval": float(value)}, 0, value)
    deliver(store, journal)
    [run] = store.runs.values()
    assert run["status"] == ["RUNNING", "FINISHED"]


def test_two_senders_of_a_journal_take_turns(tmp_path: Path) -> None:
    journal, store = small_run(tmp_path), ListStore()
    threads = [threading.Thread(target=deliver, args=(store, journal)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    check(store)


def test_a_run_without_a_process_is_killed_and_a_living_one_is_left_alone(tmp_path: Path) -> None:
    writer = start_journal(tmp_path, new_key())
    journal, store = writer.journal, ListStore()
    with FileLock(journal.alive_lock):
        assert not is_unsent(journal)
    assert journal.last_status() == "RUNNING"
    assert is_unsent(journal)
    deliver(store, journal)
    assert next(iter(store.runs.values()))["status"][-1] == "KILLED"
    assert end_if_dead(journal)
    assert not is_unsent(journal)


def test_a_journal_that_was_removed_makes_no_run_until_it_is_written_anew(tmp_path: Path) -> None:
    """Whoever has it open still knows the run's name and experiment; the one that sends it would have to guess."""
    store, writer = ListStore(), start_journal(tmp_path, new_key())
    delivery = Delivery(store, lambda *_: None)
    shutil.rmtree(tmp_path / "runs")
    assert delivery.send(writer.journal) == 0
    assert not store.runs
    writer.params({"p": "1"})
    assert delivery.send(writer.journal) == writer.journal.size
    [run] = store.runs.values()
    assert (run["name"], run["experiment"]) == ("name", "exp")


def test_an_empty_journal_is_no_run(tmp_path: Path) -> None:
    """A kill before its first line leaves one."""
    store, journal = ListStore(), Journal(tmp_path, new_key())
    JournalWriter(journal).close()
    delivery = Delivery(store, lambda *_: None)
    assert not journal.pending
    assert not delivery.lacks(journal)
    assert delivery.send(journal) == 0
    assert not store.runs
