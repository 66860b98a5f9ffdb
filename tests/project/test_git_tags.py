"""The tags that say which code ran."""

import subprocess
from pathlib import Path

import pytest

from gptmodel.project.git import git_tags


def git(folder: Path, *arguments: str) -> str:
    name = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
    return subprocess.run(
        ["git", "-C", folder, *name, *arguments], check=True, capture_output=True, text=True
    ).stdout.strip()


def test_git_tags_say_commit_and_changes(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    file = tmp_path / "file"
    file.write_text("1")
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "-qm", "first")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert git_tags(tmp_path) == {"mlflow.source.git.commit": commit, "gptmodel.git.dirty": "false"}
    (tmp_path / "untracked").touch()
    assert git_tags(tmp_path)["gptmodel.git.dirty"] == "false"
    file.write_text("2")
    assert git_tags(tmp_path) == {"mlflow.source.git.commit": commit, "gptmodel.git.dirty": "true"}


def test_git_tags_outside_a_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_tags(tmp_path) == {}
    monkeypatch.setenv("PATH", str(tmp_path))  # no git either
    monkeypatch.setenv("DVC_EXP_NAME", "fuzzy-cat")
    assert git_tags(tmp_path) == {"dvc.exp.name": "fuzzy-cat"}
