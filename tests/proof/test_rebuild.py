"""A stage that is run anew: whatever stands in dvc.yaml, it says why it failed."""

from pathlib import Path

from gptmodel.project.lock import Stage
from gptmodel.proof.rebuild import run_stage


def test_a_command_that_the_shell_cannot_read_fails_with_what_it_says(tmp_path: Path) -> None:
    stage = Stage(name="own", cmd="echo it's", deps=(), params={}, outs={})
    reason = run_stage(stage, tmp_path)
    assert reason is not None
    assert "quot" in reason.lower()
    assert reason.endswith("(status 2)")
