"""What a killed `dvc exp run` leaves in git: it works on a detached HEAD, and a kill leaves it there.

DVC keeps `refs/exps/exec/EXEC_BASELINE` while an experiment runs in the workspace, and the id of its process in a file.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from gptmodel.doctor.finding import Finding
from gptmodel.errors import GptModelError
from gptmodel.project.git import git
from gptmodel.units import listed

EXECUTING = "refs/exps/exec/EXEC_BASELINE"
PROCESS = Path(".dvc") / "tmp" / "exps" / "run" / "workspace" / "workspace.json"


def experiments(root: Path) -> Iterator[Finding]:
    """Examine what experiments in the workspace left in git; `root` has to be resolved."""
    if _answer(root, "rev-parse", "--verify", "--quiet", EXECUTING) is None:
        return
    if _is_under_way(root):
        yield Finding("note", "a `dvc exp run` is under way; until it ends, git is on no branch: let it finish")
        return
    if _answer(root, "symbolic-ref", "--quiet", "HEAD") is not None:
        return
    text = "a killed `dvc exp run` left git on no branch (detached HEAD), where commits get lost"
    staged = (_answer(root, "diff", "--cached", "--name-only") or "").splitlines()
    if staged:
        text += f", with changes staged ({listed(staged, 3)})"
    back = f"`git switch {_former_branch(root)} && git reset` goes back, unstages and keeps every file as it is now"
    forward = "the same `dvc exp run` then continues the training; `git restore params.yaml` drops its settings"
    yield Finding("problem", f"{text}: {back}; {forward}")


def _answer(root: Path, *words: str) -> str | None:
    try:
        return git(root, *words)
    except GptModelError:
        return None


def _is_under_way(root: Path) -> bool:
    try:
        process = psutil.Process(json.loads((root / PROCESS).read_bytes())["pid"])
        return any("dvc" in Path(word).name for word in process.cmdline()[:3])
    except (OSError, ValueError, LookupError, TypeError, psutil.Error):
        return False


def _former_branch(root: Path) -> str:
    """Return the branch that git was on, if it is still where DVC left it."""
    branch = _answer(root, "rev-parse", "--abbrev-ref", "@{-1}")
    same = branch and _answer(root, "rev-parse", f"refs/heads/{branch}") == _answer(root, "rev-parse", "HEAD")
    return branch if branch and same else "BRANCH"
