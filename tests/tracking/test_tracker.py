"""The tracker that remembers nothing."""

from pathlib import Path

from gptmodel.tracking.tracker import NullTracker, Tracker


def test_a_tracker_that_remembers_nothing(tmp_path: Path) -> None:
    tracker: Tracker = NullTracker("why")
    tracker.log_params({"n_embd": 64})
    tracker.set_tags({"verdict": "healthy"})
    tracker.log_metrics({"loss": 1.0}, 0)
    tracker.log_artifact(tmp_path / "absent")
    tracker.log_dataset("plays", "1234", "data/input.txt", {})
    tracker.flush()
    assert tracker.describe() == {"journal": None, "run_id": None, "experiment": None}
    tracker.close("FAILED")
    assert tracker.problem == "why"
    assert not list(tmp_path.iterdir())
