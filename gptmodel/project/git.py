"""What git says of the project."""

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gptmodel.errors import GptModelError

WORKTREES = "gptmodel-verify-"
"""How the temporary folders of worktrees begin; the process id follows."""


def git(root: Path, *words: str) -> str:
    """Run git in a folder and return what it says; GptModelError when it fails."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}  # a hook sets them
    command = ["git", "-C", str(root), *words]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, check=False)
    except OSError:
        raise GptModelError("git cannot be started; install it") from None
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"]
        raise GptModelError(f"git {words[0]}: {reason[-1].removeprefix('fatal: ')}")
    return done.stdout.decode(errors="replace").rstrip("\n")


@dataclass(frozen=True, kw_only=True)
class Revision:
    """The revision to examine, and the project it belongs to."""

    root: Path
    name: str
    """As the user calls it."""
    commit: str
    is_head: bool

    @classmethod
    def find(cls, root: Path, name: str) -> "Revision":
        """Resolve a revision; GptModelError when git knows none of this name."""
        try:
            head = git(root, "rev-parse", "--verify", "--quiet", "HEAD^{commit}")
            commit = git(root, "rev-parse", "--verify", "--end-of-options", f"{name}^{{commit}}").splitlines()[-1]
        except GptModelError as error:
            raise GptModelError(f"{name}: no revision of this project: {error}; commit dvc.lock first") from None
        return cls(root=root, name=name, commit=commit, is_head=commit == head)

    def __str__(self) -> str:
        return self.name if self.commit.startswith(self.name) else f"{self.name} ({self.commit[:8]})"


@contextlib.contextmanager
def worktree(revision: Revision) -> Iterator[Path]:
    """Check the revision out into a temporary worktree, and remove it whatever happens. Hooks do not run."""
    prefix = git(revision.root, "rev-parse", "--show-prefix")
    with tempfile.TemporaryDirectory(prefix=f"{WORKTREES}{os.getpid()}-", ignore_cleanup_errors=True) as folder:
        tree = Path(folder).resolve() / "tree"
        try:
            add = ("worktree", "add", "--quiet", "--detach", str(tree), revision.commit)
            git(revision.root, "-c", f"core.hooksPath={os.devnull}", *add)
            yield tree / prefix
        finally:
            with contextlib.suppress(GptModelError):  # it may not have come to be
                git(revision.root, "worktree", "remove", "--force", "--force", str(tree))


def git_tags(folder: Path) -> dict[str, str]:
    """Return the tags that say which code ran: commit, whether tracked files differ from it, DVC's experiment.

    Outside a git repository, or without git, there are no git tags.
    """
    tags = {}
    commit = _git(folder, "rev-parse", "HEAD")
    if commit:
        tags["mlflow.source.git.commit"] = commit.strip()
        changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
        if changes is not None:
            tags["gptmodel.git.dirty"] = "true" if changes.strip() else "false"
    if name := os.environ.get("DVC_EXP_NAME"):
        tags["dvc.exp.name"] = name
    return tags


def _git(folder: Path, *arguments: str) -> str | None:
    command: list[Any] = ["git", "--no-optional-locks", "-C", folder, *arguments]
    try:
        done = subprocess.run(command, capture_output=True, check=True, timeout=5, encoding="utf-8", errors="replace")
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout
