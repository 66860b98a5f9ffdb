"""Every tracker keeps the protocol."""

from pathlib import Path

from gptmodel.tracking.base import NullTracker, Tracker
from gptmodel.tracking.journal_tracker import JournalTracker


def test_trackers_keep_the_protocol(tmp_path: Path) -> None:
    trackers: list[Tracker] = [NullTracker(), JournalTracker(tmp_path, "0" * 32, "exp", "address")]
    for tracker in trackers:
        tracker.log_metrics({"loss": 1.0}, 0)  # not started: nothing happens, nothing breaks
        tracker.close("FAILED")
        assert tracker.problem is None
    assert not list(tmp_path.iterdir())
