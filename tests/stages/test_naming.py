"""Runs are called by what differs from the commit they began with."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from model_helpers import small_params, small_values

from stages.naming import name_by_changes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A repository whose commit has small settings, with a second commit of another seed."""
    for seed in (7, 8):
        values = small_values()
        values["train"]["seed"] = seed
        (tmp_path / "params.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
        for words in (["init", "-q"], ["add", "params.yaml"], ["commit", "-q", "-m", "settings"]):
            identity = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
            subprocess.run(["git", *identity, *words], cwd=tmp_path, check=True, capture_output=True)
    return tmp_path


def commit(folder: Path, name: str) -> str:
    command = ["git", "rev-parse", "--short", name]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"model": {"position": "rotary"}}, "position=rotary"),
        ({"train": {"learning_rate": 0.003, "seed": 2}}, "learning_rate=0.003 seed=2"),
        ({"model": {"ngram_orders": [2, 3], "scale_embedding": False}}, "scale_embedding=false ngram_orders=[2,3]"),
        ({"evaluate": {"overfit_gap": 0.3}, "sample": {"seed": 1}}, None),  # these make no other model
        (
            {"train": {"batch_size": 5, "max_iters": 9, "eval_interval": 1, "eval_iters": 3, "seed": 2}},
            "5 changes: batch_size=5 max_iters=9 eval_interval=1 eval_...",
        ),
    ],
)
def test_the_name_says_what_differs(
    folder: Path, changes: dict[str, Any], name: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DVC_EXP_BASELINE_REV", raising=False)
    changes.setdefault("train", {}).setdefault("seed", 8)
    assert name_by_changes(folder, small_params(**changes)) == (name or f"commit {commit(folder, 'HEAD')}")


def test_an_experiment_is_measured_by_its_baseline(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_EXP_BASELINE_REV", commit(folder, "HEAD~1"))
    assert name_by_changes(folder, small_params()) == f"commit {commit(folder, 'HEAD~1')}"
    assert name_by_changes(folder, small_params(train={"seed": 9})) == "seed=9"


def test_without_git_there_is_no_name(tmp_path: Path) -> None:
    assert name_by_changes(tmp_path, small_params()) is None
