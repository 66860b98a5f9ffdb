"""Which change of the code starts a training anew: one of what decides its result, by dvc.yaml's word."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from attempts import ROOT
from projects import new_project

PATIENCE = 60.0


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout of its own with a training that was stopped in good order."""
    checkout = tmp_path_factory.mktemp("checkout") / "project"
    long = {"max_iters": 10**6, "eval_interval": 10**6}
    new_project(checkout, train=long, runtime={"mlflow": False, "snapshot_seconds": 1e9})
    for name in ("gptmodel", "stages"):
        shutil.copytree(ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", "requirements.txt"):
        shutil.copy(ROOT / name, checkout / name)
    assert " parameters for " in summary(checkout, after=2.0)
    assert list(checkout.glob("runs/*/snapshot-*.pt"))
    return checkout


def summary(checkout: Path, after: float = 0.0) -> str:
    """Start to train with the checkout's own code, and stop it some seconds after it said what it is about to do."""
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "DVC_ROOT")}
    process = subprocess.Popen(
        [sys.executable, "-m", "stages.train"], cwd=checkout, env=environment, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    try:
        line = process.stderr.readline()
        time.sleep(after)
        process.send_signal(signal.SIGTERM)
        status = process.wait(PATIENCE)
    finally:
        process.kill()
    assert status == 143, line + process.stderr.read()
    return line


@pytest.mark.parametrize(
    ("file", "goes_on"),
    [
        ("gptmodel/planning/plan.py", True),
        ("gptmodel/tracking/journal.py", True),
        ("gptmodel/nn/block.py", False),
    ],
)
def test_a_comment_starts_a_training_anew_only_in_code_that_decides_its_result(
    stopped: Path, file: str, goes_on: bool
) -> None:
    code = (stopped / file).read_bytes()
    (stopped / file).write_bytes(code + b"# another comment\n")
    try:
        assert ("continued from iteration" in summary(stopped)) is goes_on
    finally:
        (stopped / file).write_bytes(code)
