"""What git says of a project, and the tags of a run."""

import json
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from gptmodel.errors import GptModelError
from gptmodel.project import git as project_git
from gptmodel.project.git import Revision, git, git_tags, uncommitted, worktree


def run(folder: Path, *arguments: str) -> None:
    name = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
    subprocess.run(["git", "-C", folder, *name, *arguments], check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with one commit of one file."""
    return new_repository(tmp_path / "repository")


def new_repository(folder: Path) -> Path:
    folder.mkdir()
    run(folder, "init", "-q")
    (folder / "file").write_text(folder.name)
    run(folder, "add", "file")
    run(folder, "commit", "-qm", "first")
    return folder


def sleeping_git(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `git` be a program that does not answer."""
    folder.mkdir()
    (folder / "git").write_text("#!/bin/sh\nexec sleep 30\n")
    (folder / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_a_failure_is_one_line(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(GptModelError, match=r"^git rev-parse: Needed a single revision$"):
        git(repository, "rev-parse", "--verify", "nowhere")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(GptModelError, match="git cannot be started"):
        git(repository, "status")


def test_a_failure_that_takes_git_several_lines_is_told_whole(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    told = f"detected dubious ownership in repository at '{repository}' To add an exception for this directory, call: "
    with pytest.raises(GptModelError) as raised:
        git(repository, "rev-parse", "HEAD")
    assert str(raised.value) == f"git rev-parse: {told}git config --global --add safe.directory {repository}"


def test_it_answers_for_its_folder_whatever_a_hook_of_another_repository_sets(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = new_repository(tmp_path / "other")
    commit = git(repository, "rev-parse", "HEAD")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / ".git" / "index"))
    assert git(repository, "rev-parse", "HEAD") == commit
    assert git_tags(repository) == {"mlflow.source.git.commit": commit, "gptmodel.git.dirty": "false"}


def test_a_worktree_is_there_as_long_as_it_is_used_and_no_hook_runs(repository: Path) -> None:
    hook = repository / ".git" / "hooks" / "post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\ntouch hooked\n")
    hook.chmod(0o755)
    (repository / "file").write_text("changed")
    assert uncommitted(repository) == ["file"]
    with suppress(KeyError), worktree(Revision.find(repository, "HEAD")) as tree:
        assert [path.name for path in tree.iterdir() if path.name != ".git"] == ["file"]
        assert (tree / "file").read_text() == "repository"
        raise KeyError
    assert not tree.exists()
    assert len(git(repository, "worktree", "list").splitlines()) == 1


def test_git_tags_say_commit_and_changes(repository: Path) -> None:
    commit = git(repository, "rev-parse", "HEAD")
    assert git_tags(repository) == {"mlflow.source.git.commit": commit, "gptmodel.git.dirty": "false"}
    (repository / "untracked").touch()
    assert git_tags(repository)["gptmodel.git.dirty"] == "false"
    (repository / "file").write_text("2")
    assert git_tags(repository) == {"mlflow.source.git.commit": commit, "gptmodel.git.dirty": "true"}


@pytest.mark.parametrize("below", ["", "a/project"])
def test_what_the_pipeline_writes_is_no_change_of_the_code(repository: Path, below: str) -> None:
    project = repository / below
    (project / "metrics").mkdir(parents=True)
    metrics, lock = project / "metrics" / "train.json", project / "dvc.lock"
    pipeline = {"train": {"cmd": "train", "deps": ["code.py"], "metrics": [{"metrics/train.json": {"cache": False}}]}}
    (project / "dvc.yaml").write_text(json.dumps({"stages": pipeline}))
    for path in (metrics, lock, project / "metrics" / "mine.json", project / "code.py"):
        path.write_text("1")
    run(repository, "add", "--all")
    run(repository, "commit", "-qm", "second")
    metrics.unlink()
    lock.write_text("2")
    assert git_tags(project)["gptmodel.git.dirty"] == "false"
    for path in (project / "metrics" / "mine.json", project / "code.py", repository / "file"):
        before = path.read_text()
        path.write_text("3")
        assert git_tags(project)["gptmodel.git.dirty"] == "true", path
        path.write_text(before)
    (project / "dvc.yaml").write_text("no pipeline")
    assert git_tags(project)["gptmodel.git.dirty"] == "true"


def test_git_tags_outside_a_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_tags(tmp_path) == {}
    monkeypatch.setenv("PATH", str(tmp_path))  # no git either
    monkeypatch.setenv("DVC_EXP_NAME", "fuzzy-cat")
    assert git_tags(tmp_path) == {"dvc.exp.name": "fuzzy-cat"}


def test_git_tags_do_not_wait_for_a_git_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sleeping_git(tmp_path / "bin", monkeypatch)
    monkeypatch.setattr(project_git, "TAG_SECONDS", 0.1)
    assert git_tags(tmp_path) == {}
    with pytest.raises(GptModelError, match=r"^git status: no answer in 0.1 seconds$"):
        git(tmp_path, "status", seconds=0.1)
