"""Rebuilding a revision where nothing but what git holds can help: its worktree, its stages' commands, known outs."""

import contextlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gptmodel.errors import GptModelError
from gptmodel.files import atomic_write, digest
from gptmodel.lock import Stage, dvc_setting, measure

FOLDER = "gptmodel-verify-"
"""How the temporary folders begin; the process id follows."""
QUIET = ("-S", "runtime.mlflow=false", "-S", "runtime.progress=none")
NOT_PASSED_ON = ("DVC_EXP_NAME", "DVC_EXP_BASELINE_REV", "MLFLOW_RUN_ID", "PYTHONSAFEPATH")


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
    with tempfile.TemporaryDirectory(prefix=f"{FOLDER}{os.getpid()}-", ignore_cleanup_errors=True) as folder:
        tree = Path(folder).resolve() / "tree"
        try:
            add = ("worktree", "add", "--quiet", "--detach", str(tree), revision.commit)
            git(revision.root, "-c", f"core.hooksPath={os.devnull}", *add)
            yield tree / prefix
        finally:
            with contextlib.suppress(GptModelError):  # it may not have come to be
                git(revision.root, "worktree", "remove", "--force", "--force", str(tree))


def run_stage(stage: Stage, tree: Path, settings: tuple[str, ...] = ()) -> str | None:
    """Run a stage's command as DVC would, its outs removed before; return None, or why it failed."""
    for path, out in stage.outs.items():
        if not out.persist:
            remove(tree / path)
    words = shlex.split(stage.cmd)
    own = words[:2] == ["python", "-m"] and len(words) == 3 and words[2].startswith("stages.")
    command = [sys.executable, *words[1:], *QUIET, *settings] if own else ["/bin/sh", "-c", stage.cmd]
    environment = {key: value for key, value in os.environ.items() if key not in NOT_PASSED_ON} | {
        "DVC_ROOT": str(tree),
        "DVC_STAGE": stage.name,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
        "PYTHONDONTWRITEBYTECODE": "1",  # its files would be in the folders that stages depend on
    }
    done = subprocess.run(
        command, cwd=tree, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    if done.returncode == 0:
        return None
    said = (done.stderr + b"\n" + done.stdout).decode(errors="replace").strip().splitlines()
    last = done.stderr.decode(errors="replace").strip().splitlines() or said or ["it said nothing"]
    return f"{last[-1].removeprefix('error: ')} (status {done.returncode})"


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@dataclass(frozen=True, kw_only=True)
class KnownOuts:
    """Where outs of stages that are not rebuilt come from: the commit, the workspace or DVC's cache, by their md5."""

    root: Path
    committed: Mapping[str, bytes] = field(default_factory=dict)

    def place(self, path: str, md5: str, target: Path) -> bool:
        """Put the out with this md5 at `target`; return whether it was found and is whole."""
        known, workspace = self.committed.get(path), measure(self.root / path)
        remove(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        if known is not None:
            atomic_write(target, known)
            if digest(target, "md5") == md5:
                return True
            remove(target)
        if workspace is not None and workspace.md5 == md5:
            copy = shutil.copytree if workspace.nfiles is not None else shutil.copyfile
            copy(self.root / path, target)
            return True
        try:
            self._from_cache(md5, target)
        except (OSError, ValueError, KeyError, TypeError):  # absent, or damaged
            remove(target)
        found = measure(target)
        if found is None or found.md5 != md5:
            remove(target)
            return False
        return True

    def _from_cache(self, md5: str, target: Path) -> None:
        cached = self._cached(md5)
        if not md5.endswith(".dir"):
            shutil.copyfile(cached, target)
            return
        for item in json.loads(cached.read_bytes()):
            file = target.joinpath(*str(item["relpath"]).split("/"))
            if not file.resolve().is_relative_to(target.resolve()):
                raise ValueError("a path that leads out of the folder")
            file.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self._cached(item["md5"]), file)

    def _cached(self, md5: str) -> Path:
        folder = dvc_setting(self.root, "cache", "dir") or "cache"  # a path in DVC's configuration starts at .dvc
        return self.root / ".dvc" / folder / "files" / "md5" / md5[:2] / md5[2:]
