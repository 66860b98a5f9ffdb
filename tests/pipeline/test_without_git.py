"""A project that was unpacked from an archive, without git."""

import subprocess
from pathlib import Path

from model_helpers import ROOT

TRIVIAL = "stages: {hello: {cmd: echo hello > hello.txt, outs: [hello.txt]}}\n"


def test_make_runs_the_pipeline_without_git(tmp_path: Path) -> None:
    """`-o install` leaves out the installation; the pipeline is a small one, since git matters to DVC alone."""
    project = tmp_path / "project"
    (project / ".dvc").mkdir(parents=True)
    for name in ("Makefile", ".dvc/config"):
        (project / name).write_bytes((ROOT / name).read_bytes())
    (project / "dvc.yaml").write_text(TRIVIAL, encoding="utf-8")
    command = ["make", "-o", "install", "repro"]
    result = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert (project / "hello.txt").read_text(encoding="utf-8") == "hello\n"
