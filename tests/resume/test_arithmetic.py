"""A training goes on only where it is computed as it began, whatever the place is called."""

import re
import sys
from pathlib import Path

import pytest
from projects import JOURNAL_ONLY, Project, new_project


def arithmetic(error: str) -> str:
    """What `train` says of the platform's arithmetic."""
    (digest,) = re.findall(r"arithmetic ([0-9a-f]{12})", error)
    return str(digest)


@pytest.mark.skipif(sys.platform != "linux", reason="MKL computes elsewhere only where it is, on a processor of x86")
@pytest.mark.parametrize("variable", [{"MKL_CBWR": "COMPATIBLE"}, {"ONEDNN_MAX_CPU_ISA": "SSE41"}], ids=str)
def test_a_training_that_was_killed_starts_anew_where_a_library_computes_otherwise(
    tmp_path: Path, alone: Project, variable: dict[str, str]
) -> None:
    project = new_project(tmp_path / "project")
    kill = {"kill_inside": {"place": "gptmodel.training.step:training_step", "call": 12, "after": 3}}
    assert project.run("train", injuries={**JOURNAL_ONLY, **kill}).killed
    other = project.succeed("train", injuries=JOURNAL_ONLY, **variable)
    assert "continued" not in other.error
    own = project.succeed("train", injuries=JOURNAL_ONLY)
    assert "continued from iteration 11" in own.error
    assert project.outcome() == alone.outcome()
    assert arithmetic(own.error) != arithmetic(other.error)
