"""What git says of the project."""

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gptmodel.errors import GptModelError

WORKTREES = "gptmodel-verify-"
"""How the temporary folders of worktrees begin; the process id follows."""
SET_FOR_HOOKS = {"GIT_DIR", "GIT_WORK_TREE", "GIT_COMMON_DIR", "GIT_INDEX_FILE", "GIT_PREFIX"}
SET_FOR_HOOKS |= {"GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES"}
"""Variables that git sets for its hooks: with them, git answers for the hook's repository, whatever the folder."""
TAG_SECONDS = 5.0
"""How long a run waits for git: its tags are not worth more."""


def git(root: Path, *words: str, seconds: float | None = None) -> str:
    """Run git in a folder and return what it prints; GptModelError when it fails or takes more than `seconds`.

    No hook runs, and a look at a repository writes nothing into it.
    """
    environment = {key: value for key, value in os.environ.items() if key not in SET_FOR_HOOKS}
    command = ["git", "--no-optional-locks", "-c", f"core.hooksPath={os.devnull}", "-C", str(root), *words]
    try:
        result = subprocess.run(command, env=environment, capture_output=True, check=False, timeout=seconds)
    except OSError:
        raise GptModelError("git cannot be started; install it") from None
    except subprocess.TimeoutExpired:
        raise GptModelError(f"git {words[0]}: no answer in {seconds:g} seconds") from None
    if result.returncode:
        reason = " ".join(result.stderr.decode(errors="replace").split()) or "no reason given"
        raise GptModelError(f"git {words[0]}: {reason.removeprefix('fatal: ')}")
    return result.stdout.decode(errors="replace").rstrip("\n")


@dataclass(frozen=True, kw_only=True)
class Revision:
    """A commit of the project, and the folder of the project."""

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
            raise GptModelError(
                f"{name}: not a revision of this project ({error}); commit dvc.lock, or name a commit that has it"
            ) from None
        return cls(root=root, name=name, commit=commit, is_head=commit == head)

    def __str__(self) -> str:
        return self.name if self.commit.startswith(self.name) else f"{self.name} ({self.commit[:8]})"


@contextlib.contextmanager
def worktree(revision: Revision) -> Iterator[Path]:
    """Check the revision out into a temporary worktree, and remove it whatever happens."""
    prefix = git(revision.root, "rev-parse", "--show-prefix")
    with tempfile.TemporaryDirectory(prefix=f"{WORKTREES}{os.getpid()}-", ignore_cleanup_errors=True) as folder:
        tree = Path(folder).resolve() / "tree"
        try:
            git(revision.root, "worktree", "add", "--quiet", "--detach", str(tree), revision.commit)
            yield tree / prefix
        finally:
            with contextlib.suppress(GptModelError):  # it may not have come to be
                git(revision.root, "worktree", "remove", "--force", "--force", str(tree))


def uncommitted(root: Path) -> list[str]:
    """Return the files of the project that git tracks and that are not as the last commit has them."""
    status = git(root, "status", "--porcelain", "--untracked-files=no", "--", ".")
    return [line[3:] for line in status.splitlines()]


def git_tags(folder: Path) -> dict[str, str]:
    """Return the tags that say which code ran: commit, whether tracked files differ from it, DVC's experiment.

    What the pipeline writes does not count: DVC removes a stage's outs before the stage runs. Outside a git
    repository, or without git, there are no git tags.
    """
    tags = {}
    with contextlib.suppress(GptModelError):
        tags["mlflow.source.git.commit"] = git(folder, "rev-parse", "HEAD", seconds=TAG_SECONDS)
        but = [f":(exclude,literal){path}" for path in _written_by_the_pipeline(folder)]
        status = "status", "--porcelain", "--untracked-files=no", "--", ":/", *but
        changes = git(folder, *status, seconds=TAG_SECONDS)
        tags["gptmodel.git.dirty"] = "true" if changes else "false"
    if name := os.environ.get("DVC_EXP_NAME"):
        tags["dvc.exp.name"] = name
    return tags


def _written_by_the_pipeline(folder: Path) -> list[str]:
    """Return dvc.lock and the outs of dvc.yaml; nothing where DVC would read no pipeline."""
    try:
        from gptmodel.project.lock import read_pipeline  # it reads YAML, for which no help has to wait

        stages = read_pipeline(folder / "dvc.yaml")
    except GptModelError:
        return []
    return ["dvc.lock", *(path for stage in stages for path in stage.outs)]
