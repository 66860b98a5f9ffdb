"""How far a value goes: the functions of this project under way between a stage and where the value arrives."""

import json
from pathlib import Path
from typing import Any

from projects import JOURNAL_ONLY, Project, new_project

TRAIN = "stages.train:train"
MOST_TO_FORWARD, MOST_TO_THE_JOURNAL = 6, 4


def stacks(tmp_path: Path, **injury: Any) -> tuple[Project, list[list[str]]]:
    """Train for real, and return the functions under way at each moment that was asked for, innermost last."""
    project, report = new_project(tmp_path / "project"), tmp_path / "frames.jsonl"
    ((name, arguments),) = injury.items()
    project.succeed("train", injuries={**JOURNAL_ONLY, name: {**arguments, "report": str(report)}})
    return project, [json.loads(line) for line in report.read_text(encoding="utf-8").splitlines()]


def test_the_train_command_reaches_forward_in_a_few_frames(tmp_path: Path) -> None:
    """The command and forward count too; evaluations beside the iterations have a thread of their own."""
    forward = "gptmodel.nn.transformer:TransformerModel.forward"
    _, all_stacks = stacks(tmp_path, record_frames_of={"place": forward})
    training = [stack for stack in all_stacks if "gptmodel.training.step:training_step" in stack]
    assert len(training) == 24  # an iteration each
    for stack in training:
        assert stack[-1] == forward
        assert len(stack[stack.index(TRAIN) :]) <= MOST_TO_FORWARD, stack


def test_a_metric_reaches_the_journal_in_a_few_frames(tmp_path: Path) -> None:
    """The call of `log_metrics` and the frame that writes count too."""
    project, all_stacks = stacks(tmp_path, record_frames={})
    (journal,) = project.journals
    assert len(all_stacks) == len(journal.read()[0])
    ways = [stack for stack in all_stacks if any(name.endswith(".log_metrics") for name in stack)]
    assert len(ways) == 7 + 1  # an evaluation each, and the final figures
    for stack in ways:
        assert stack[0] == "stages.cli:run"
        assert TRAIN in stack
        call = next(place for place, name in enumerate(stack) if name.endswith(".log_metrics"))
        assert len(stack[call:]) <= MOST_TO_THE_JOURNAL, stack
