"""The journal: nothing lost, nothing twice, whatever a kill tore."""

import math
import shutil
from pathlib import Path

import pytest

from gptmodel.errors import Interrupted
from gptmodel.tracking.journal import Journal, Sent, journals, now_ms
from gptmodel.tracking.journal_writer import JournalWriter


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path, "0" * 32)


def points(journal: Journal) -> list[tuple[str, int, float]]:
    events = [event for event in journal.read()[0] if event["kind"] == "metrics"]
    return [(key, event["step"], value) for event in events for key, value in event["values"].items()]


def test_a_resumed_run_writes_each_point_once(journal: Journal) -> None:
    first = JournalWriter(journal)
    for step in range(5):
        first.metrics({"loss": float(step), "speed": 1.0}, step, 100 + step)
    first.close()
    second = JournalWriter(journal)
    for step in range(3, 7):  # from a snapshot at 3, and with another speed
        second.metrics({"loss": float(step), "speed": 2.0}, step, 200 + step)
    second.close()
    assert [point for point in points(journal) if point[0] == "loss"] == [("loss", step, step) for step in range(7)]
    assert [value for key, _, value in points(journal) if key == "speed"] == [1, 1, 1, 1, 1, 2, 2]


def test_parameters_keep_their_first_value_and_tags_their_last(journal: Journal) -> None:
    for value in ("1", "2", "2"):
        writer = JournalWriter(journal)
        writer.params({"p": value})
        writer.tags({"t": value})
        writer.close()
    values = [(event["kind"], event["values"]) for event in journal.read()[0]]
    assert values == [("params", {"p": "1"}), ("tags", {"t": "1"}), ("tags", {"t": "2"})]


def test_a_second_evaluation_adds_only_what_changed(journal: Journal) -> None:
    for value in (1.0, 1.0, math.nan, math.nan, 2.0, 1.0):
        writer = JournalWriter(journal, again=True)
        writer.metrics({"eval/val_loss": value}, 0, 0)
        writer.close()
    assert str([value for _, _, value in points(journal)]) == "[1.0, nan, 2.0, 1.0]"


@pytest.mark.parametrize("torn", [b'{"kind": "metr', b"\0\0\0", b'{"kind": "tags", "values": {"a": "\xc3'])
def test_a_torn_line_costs_nothing_else(journal: Journal, torn: bytes) -> None:
    writer = JournalWriter(journal)
    writer.metrics({"loss": 1.0}, 1, 0)
    writer.close()
    with journal.events_file.open("ab") as stream:
        stream.write(torn)
    _, end = journal.read()
    assert end < journal.size  # the torn line may still be under way: a reader stays before it
    writer = JournalWriter(journal)
    writer.metrics({"loss": 1.0}, 1, 0)
    writer.metrics({"loss": 2.0}, 2, 0)
    writer.close()
    assert points(journal) == [("loss", 1, 1.0), ("loss", 2, 2.0)]
    assert journal.read()[1] == journal.size


def test_reading_in_pieces_reads_all(journal: Journal) -> None:
    writer = JournalWriter(journal)
    for step in range(10):
        writer.metrics({"loss": 0.0}, step, 0)
    offset, steps = 0, []
    while True:
        events, end = journal.read(offset, 3)
        if end == offset:
            break
        offset = end
        steps += [event["step"] for event in events]
    assert steps == list(range(10))


def test_files_are_copied_and_forgotten(journal: Journal, tmp_path: Path) -> None:
    writer = JournalWriter(journal)
    source = tmp_path / "model.pth"
    source.write_bytes(b"1")
    writer.file(source, "model")
    source.write_bytes(b"2")
    writer.file(source, "")
    (journal.files_folder / "tmp-killed").mkdir()  # a copy that was never finished
    assert [(file.read_bytes(), folder) for _, file, folder in journal.files()] == [(b"1", "model"), (b"2", "")]
    journal.mark_sent(Sent(offset=journal.size))
    assert journal.pending
    for entry, file, _ in journal.files():
        journal.forget_file(entry, file)
    assert not journal.pending


def test_order_does_not_hang_on_the_clock(journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is set back between two artifacts of one name, and between two evaluations."""
    for now in (2_000_000_000_000_000_000, 1_000_000_000_000_000_000, 1_500_000_000_000_000_000):
        monkeypatch.setattr("time.time_ns", lambda now=now: now)
        writer = JournalWriter(journal, again=True)
        source = tmp_path / "model.pth"
        source.write_text(str(now))
        writer.file(source, "model")
        writer.metrics({"eval/val_loss": float(now)}, 0, now_ms())
        writer.close()
    assert [int(file.read_text()) // 10**17 for _, file, _ in journal.files()] == [20, 10, 15]
    dates = [event["ms"] for event in journal.read()[0]]
    assert dates == sorted(set(dates))
    for entry, file, _ in journal.files()[:2]:
        journal.forget_file(entry, file)
    assert journal.next_entry > int(journal.files()[0][0].name[:20])


@pytest.mark.parametrize("removed", ["runs", "runs/tracking", "the journal", "events.jsonl"])
def test_a_journal_that_is_removed_while_it_is_open_is_written_anew(
    journal: Journal, tmp_path: Path, removed: str
) -> None:
    writer = JournalWriter(journal)
    writer.params({"p": "1"})
    writer.metrics({"loss": 1.0}, 1, 100)
    size = journal.size
    journal.mark_sent(Sent(offset=size))
    place = {"the journal": journal.folder, "events.jsonl": journal.events_file}.get(removed, tmp_path / removed)
    shutil.rmtree(place) if place.is_dir() else place.unlink()
    assert not writer.removed
    writer.metrics({"loss": 2.0}, 2, 200)
    assert writer.removed
    source = tmp_path / "model.pth"
    source.touch()
    writer.file(source, "model")
    writer.close()
    assert points(journal) == [("loss", 1, 1.0), ("loss", 2, 2.0)]
    assert journal.sent().offset == (size if removed == "events.jsonl" else 0)
    assert len(journal.files()) == 1


def test_a_removed_journal_that_does_not_fit_on_the_disk_is_written_once_it_does(journal: Journal) -> None:
    resource = pytest.importorskip("resource")
    writer = JournalWriter(journal)
    writer.metrics({"loss": 1.0}, 1, 100)
    writer.metrics({"loss": 2.0}, 2, 200)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    opened = sum(1 for _ in Path("/dev/fd").iterdir())
    resource.setrlimit(resource.RLIMIT_FSIZE, (journal.size - 1, hard))  # a write stops there, as on a full disk
    try:
        shutil.rmtree(journal.folder)
        for _ in range(2):
            with pytest.raises(OSError, match=r"."):
                writer.sync()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert sum(1 for _ in Path("/dev/fd").iterdir()) == opened
    writer.metrics({"loss": 3.0}, 3, 300)
    assert points(journal) == [("loss", 1, 1.0), ("loss", 2, 2.0), ("loss", 3, 3.0)]


def test_a_copy_that_a_signal_ends_is_not_left(
    journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(_source: Path, target: Path) -> None:
        target.write_bytes(b"half")
        raise Interrupted(15, "stopped")

    monkeypatch.setattr("shutil.copyfile", stopped)
    with pytest.raises(Interrupted):
        JournalWriter(journal).file(tmp_path / "model.pth", "model")
    assert list(journal.files_folder.iterdir()) == []


def test_a_spoilt_mark_means_nothing_is_known(journal: Journal) -> None:
    JournalWriter(journal).event("start")
    journal.mark_sent(Sent(offset=5, sending=True, status={"value": "FINISHED", "ms": 1}))
    assert journal.sent() == Sent(offset=5, sending=True, status={"value": "FINISHED", "ms": 1})
    for content in (b"", b"{", b"[1]", b'{"offset": 1}'):
        (journal.folder / "sent.json").write_bytes(content)
        assert journal.sent() == Sent()
    assert [listed.key for listed in journals(journal.root)] == [journal.key]
