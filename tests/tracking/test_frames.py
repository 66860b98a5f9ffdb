"""How far a metric goes: the functions of this project between a stage and the write of a line into the journal."""

import json
from pathlib import Path

import pytest
from projects import JOURNAL_ONLY, new_project

MOST = 4


@pytest.mark.thorough
def test_a_metric_reaches_the_journal_in_a_few_frames(tmp_path: Path) -> None:
    """In a real training; the call of `log_metrics` and the frame that writes count too."""
    project, report = new_project(tmp_path / "project"), tmp_path / "frames.jsonl"
    project.done("train", injuries={**JOURNAL_ONLY, "record_frames": {"report": str(report)}})
    stacks = [json.loads(line) for line in report.read_text(encoding="utf-8").splitlines()]
    (journal,) = project.journals
    assert len(stacks) == len(journal.read()[0])
    ways = [stack for stack in stacks if any(name.endswith(".log_metrics") for name in stack)]
    assert len(ways) == 7 + 1  # an evaluation each, and the final figures
    for stack in ways:
        assert stack[0] == "stages.cli:run"
        assert "stages.train:train" in stack
        call = next(place for place, name in enumerate(stack) if name.endswith(".log_metrics"))
        assert len(stack[call:]) <= MOST, stack
    print(max((stack[stack.index("stages.train:train") :] for stack in ways), key=len))
