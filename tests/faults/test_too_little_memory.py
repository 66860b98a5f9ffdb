"""Too little memory: refused before it is allocated where that can be known, else one line and the state is kept."""

from pathlib import Path

import pytest
from projects import JOURNAL_ONLY, Project, new_project

BIG = ["-S", "train.batch_size=64", "-S", "model.n_embd=64", "-S", "model.block_size=64"]

WIDE = ["-S", "model.n_embd=1024"]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return new_project(tmp_path / "project")


@pytest.mark.parametrize("sizes", [["n_embd=65536"], ["n_layer=65536", "n_embd=1024"]], ids=str)
def test_what_cannot_fit_is_refused_at_once(project: Project, sizes: list[str]) -> None:
    settings = [word for size in sizes for word in ("-S", f"model.{size}")]
    attempt = project.run("train", *settings, injuries=JOURNAL_ONLY)
    assert attempt.status == 2, attempt.error
    assert "of memory, and this machine has" in attempt.error.splitlines()[-1]
    assert "lower train.batch_size" in attempt.error.splitlines()[-1]
    assert attempt.seconds < 10
    assert not (project.folder / "runs").exists()


@pytest.mark.parametrize(
    ("place", "call", "settings"),
    [
        ("gptmodel.training.run:TrainingRun.__init__", 1, WIDE),
        ("gptmodel.evaluation.loss:estimate_loss", 1, BIG),
        ("gptmodel.training.step:training_step", 3, BIG),
        ("gptmodel.training.snapshot:SnapshotStore.save", 3, BIG),
    ],
)
def test_memory_that_runs_out_is_one_line_and_keeps_the_state(
    project: Project, place: str, call: int, settings: list[str]
) -> None:
    injury = {"place": place, "call": call, "more": 1 << 20}
    attempt = project.run("train", *settings, injuries={**JOURNAL_ONLY, "limit_memory_inside": injury})
    assert attempt.status == 2, attempt.error
    assert "Traceback" not in attempt.error
    line = attempt.error.splitlines()[-1]
    assert line.startswith("error: out of memory")
    assert "lower train.batch_size" in line
    assert not project.model.exists()
    if call > 1:
        assert project.snapshots
        assert project.journals[0].last_status() == "FAILED"
        assert "continued from iteration" in project.succeed("train", *settings, injuries=JOURNAL_ONLY).error
