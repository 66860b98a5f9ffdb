"""`gptmodel verify` where torch computes otherwise than on the machine of the lock: here on this one, without AVX."""

import re
import sys
from pathlib import Path

import pytest
import torch
from committed_project import Completed, call, change_metric, commit, faults, rows

HERE = torch.backends.cpu.get_cpu_capability()
pytestmark = pytest.mark.skipif(HERE == "DEFAULT", reason="this processor has no other way to compute")
STAGES = ("--stage", "train", "--stage", "evaluate")


def elsewhere(project: Path, *words: str, **environment: str) -> Completed:
    """Verify in a process that imports torch for itself: it reads the variable then."""
    environment = environment or {"ATEN_CPU_CAPABILITY": "default"}
    return call(project, sys.executable, "-m", "stages.cli", "verify", *words, **environment)


def test_other_bytes_are_laid_to_the_platform_and_metrics_agree_within_the_tolerance(project: Path) -> None:
    result = elsewhere(project, "--stage", "prepare", *STAGES)
    assert result.returncode == 0, result.stdout + result.stderr
    statuses = rows(result)
    assert statuses["prepare", "data/prepared"] == "same"  # nothing is computed there
    assert statuses["train", "models/model.pth"] == "other platform"
    assert statuses["train", "metrics/history.csv"] == "within tolerance"
    assert statuses["evaluate", "metrics/evaluate.json"] == "within tolerance"
    assert {status for _, _, status in faults(result)} == {"other platform", "within tolerance"}
    assert "% apart, 2 % allowed" in result.stdout
    assert "% apart, 0.1 % allowed" in result.stdout
    explanation = (
        "models/model.pth: this explains why the bytes differ: arithmetic [0-9a-f]{12} there, [0-9a-f]{12} here"
    )
    assert re.search(rf"{explanation}, cpu_capability {HERE} there, DEFAULT here", result.stdout)
    last = result.stdout.splitlines()[-1]
    assert "dvc.lock is not proven to the byte for prepare, train, evaluate: this is another platform" in last
    assert f"cpu_capability {HERE} there, DEFAULT here" in last
    assert "the metrics agree within their tolerances" in last


def test_metrics_changed_by_hand_beyond_the_tolerance_are_caught_all_the_same(project: Path) -> None:
    change_metric(project, "metrics/train.json", ["val_loss"], 1.03)
    change_metric(project, "metrics/evaluate.json", ["val", "loss"], 1.003)
    commit(project)
    result = elsewhere(project, *STAGES)
    assert result.returncode == 2
    assert {fault for fault in faults(result) if fault[2] == "differs"} == {
        ("train", "metrics/train.json", "differs"),
        ("evaluate", "metrics/evaluate.json", "differs"),
    }
    assert "2.9 % apart, 2 % allowed" in result.stdout
    assert "0.3 % apart, 0.1 % allowed" in result.stdout
    assert "not proven" in result.stderr.splitlines()[-1]


def test_a_stage_behind_the_model_knows_the_platform_of_the_model(project: Path) -> None:
    result = elsewhere(project, "--stage", "evaluate")
    assert result.returncode == 0, result.stdout + result.stderr
    assert rows(result)["evaluate", "metrics/evaluate.json"] == "within tolerance"
    assert re.search("models/model.pth: this machine: arithmetic [0-9a-f]{12}, cpu_capability DEFAULT", result.stdout)


def test_a_library_that_computes_otherwise_is_another_platform_although_nothing_else_is(project: Path) -> None:
    result = elsewhere(project, "--stage", "train", MKL_CBWR="COMPATIBLE")
    assert result.returncode == 0, result.stdout + result.stderr
    assert rows(result)["train", "models/model.pth"] == "other platform"
    assert re.search(r"why the bytes differ: arithmetic [0-9a-f]{12} there, [0-9a-f]{12} here$", result.stdout, re.M)
