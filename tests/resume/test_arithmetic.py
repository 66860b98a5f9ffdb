"""A training goes on only where it is computed as it began, whatever the place is called."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from attempts import ROOT
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


ATTENTION = """
import torch
part = torch.zeros(1, 1, 513, 8, dtype=torch.bfloat16)
torch.nn.functional.scaled_dot_product_attention(part, part, part, is_causal=True)
"""


def test_an_attention_that_torch_lacks_is_told_in_a_line_before_anything_is_kept(tmp_path: Path) -> None:
    """On some processors with AVX512, by a process that imports torch for itself: it reads the variable then."""
    project = new_project(tmp_path / "project", model={"block_size": 513, "dropout": 0.0}, train={"dtype": "bfloat16"})
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "ATEN_CPU_CAPABILITY": "avx2"}

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *words]
        return subprocess.run(command, cwd=project.folder, env=environment, capture_output=True, text=True, check=False)

    if run("-c", ATTENTION).returncode == 0:
        pytest.skip("torch has this attention here")
    ended = run("-m", "stages.train")
    assert ended.returncode == 2, ended.stderr
    assert ended.stderr.splitlines()[-1] == (
        "error: train.dtype = bfloat16: with the environment's ATEN_CPU_CAPABILITY torch has no attention in it for "
        "model.block_size above 512 here; unset that variable, or set train.dtype to float32"
    )
    assert project.leftovers() == []
    project.succeed("train", injuries=JOURNAL_ONLY)
