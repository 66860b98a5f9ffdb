"""The examination of what kills leave behind: locks, lost processes, training states, half-written files."""

import contextlib
import re
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from gptmodel.doctor.disk import bytes_below
from gptmodel.doctor.dvc_locks import dvc_locks
from gptmodel.doctor.finding import Finding
from gptmodel.doctor.trainings import is_held, trainings
from gptmodel.errors import GptModelError
from gptmodel.project.git import WORKTREES, git
from gptmodel.tracking.journal import journals
from gptmodel.units import age, listed, size

FOLDERS = ("data", "models", "metrics", "evaluation", "plots", "samples", "reports", "runs")
TEMPORARY = re.compile(r"\..+\.[a-z0-9_]{8}\.tmp")  # the names that files.atomic_writer and whole_folder give
FRESH_SECONDS = 60.0


def leftovers(root: Path) -> Iterator[Finding]:
    """Examine what kills left in the project and on the machine; `root` has to be resolved."""
    yield from dvc_locks(root)
    yield from _processes(root)
    yield from trainings(root)
    yield from _tracking(root)
    yield from _temporary_files(root)
    yield from _temporary_folders(root)
    yield from _experiments(root)
    yield from _worktrees(root)


def _processes(root: Path) -> Iterator[Finding]:
    """Find stages still running after the dvc that started them was killed."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            words = process.cmdline()
            stage = next((word for word in words if re.fullmatch(r"stages\.\w+", word)), None)
            if stage and Path(process.cwd()) == root and "DVC_STAGE" in process.environ() and not _under_dvc(process):
                text = f"{stage} (PID {process.pid}) is still running after the dvc that started it was killed"
                mend = f"`kill {process.pid}` (train saves its state), then `dvc repro` goes on from there"
                yield Finding("problem", f"{text}, and `dvc repro` cannot start it again: {mend}")


def _under_dvc(process: psutil.Process) -> bool:
    return any("dvc" in Path(word).name for parent in process.parents() for word in parent.cmdline()[:3])


def _tracking(root: Path) -> Iterator[Finding]:
    counts = Counter[str]()
    for journal in journals(root):
        try:
            if is_held(journal.alive_lock):
                continue
            if journal.last_status() == "RUNNING":
                counts["killed"] += 1
            elif journal.pending:
                counts["unsent"] += 1
        except Exception as error:  # whatever lies in that folder
            counts["damaged"] += 1
            reason = " ".join(str(error).split())
            text = f"runs/tracking/{journal.key}: the record of a run is damaged: {reason}"
            yield Finding("problem", f"{text}; move it away, `gptmodel sync` sends the others")
    if killed := counts["killed"]:
        text = f"tracked runs that were killed but are still RUNNING in MLflow: {killed}"
        yield Finding("note", f"{text}; `gptmodel sync` tells MLflow")
    if unsent := counts["unsent"]:
        text = f"tracked runs that were not fully sent to MLflow: {unsent}"
        yield Finding("note", f"{text}; `gptmodel sync` sends the rest")
    if not counts:
        yield Finding("ok", "all tracked runs were sent to MLflow")


def _temporary_files(root: Path) -> Iterator[Finding]:
    paths = _abandoned_files(root)
    if not paths:
        yield Finding("ok", "no half-written files")
        return
    names = listed([str(path.relative_to(root)) for path in paths], 3)
    used = size(sum(path.lstat().st_size for path in paths))
    text = f"killed processes left half-written files ({used}): {names}; --mend removes them"
    yield Finding("note", text, partial(_remove_files, root))


def _temporary_folders(root: Path) -> Iterator[Finding]:
    """Find what a killed export left, or a copy of an artifact: they may be at work for long with no file open."""
    copies = [path for path in (root / "runs" / "tracking").glob("*/files/tmp-*") if _is_stale(path)]
    if paths := [*(path for path in _stale(root) if path.is_dir()), *copies]:
        names = listed([str(path.relative_to(root)) for path in paths], 3)
        used = size(sum(bytes_below(path) for path in paths))
        hint = "if no export and no stage is running, remove them"
        yield Finding("note", f"folders that a running or killed command writes ({used}): {names}; {hint}")


def _stale(root: Path) -> list[Path]:
    """Return what is half-written, in the project's folder and where stages write, and did not change for a while."""
    paths = [*root.glob("*.tmp"), *(path for folder in FOLDERS for path in (root / folder).rglob("*.tmp"))]
    return sorted(path for path in paths if TEMPORARY.fullmatch(path.name) and _is_stale(path))


def _is_stale(path: Path) -> bool:
    try:
        return path.lstat().st_mtime < time.time() - FRESH_SECONDS
    except OSError:  # a training under way has put it in its place meanwhile
        return False


def _abandoned_files(root: Path) -> list[Path]:
    """Return half-written files that nobody wrote to for a while and no process of this user has open."""
    stale = [path for path in _stale(root) if not path.is_dir()]
    if not stale:
        return []
    opened: set[str] = set()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            opened |= {file.path for file in process.open_files()}
    return [path for path in stale if str(path) not in opened]


def _remove_files(root: Path) -> str:
    paths = _abandoned_files(root)
    for path in paths:
        path.unlink(missing_ok=True)
    return f"removed {len(paths)} half-written files"


def _experiments(root: Path) -> Iterator[Finding]:
    """Find folders that a killed `dvc exp run --temp` or queue worker left."""
    folders = [path for path in (root / ".dvc" / "tmp" / "exps" / "standalone").glob("tmp*") if path.is_dir()]
    folders += [path for path in (root / ".dvc" / "tmp" / "exps").glob("tmp*") if path.is_dir()]
    if folders:
        oldest = age(time.time() - min(path.stat().st_mtime for path in folders))
        hint = "if no experiment is running (`dvc queue status`), remove them"
        names = listed([str(path.relative_to(root)) for path in folders], 3)
        yield Finding("note", f"folders of running or killed experiments, the oldest {oldest} old: {names}; {hint}")


def _worktrees(root: Path) -> Iterator[Finding]:
    """Find worktrees that a killed `gptmodel verify` left."""
    try:
        lines = git(root, "worktree", "list", "--porcelain").splitlines()
    except GptModelError:
        return
    for line in lines:
        tree = Path(line.removeprefix("worktree "))
        match = re.match(rf"{WORKTREES}(\d+)-", tree.parent.name)
        if line.startswith("worktree ") and match and not psutil.pid_exists(int(match[1])):
            text = f"a killed `gptmodel verify` left {tree}; --mend removes it"
            yield Finding("note", text, partial(_remove_worktree, root, tree))


def _remove_worktree(root: Path, tree: Path) -> str:
    git(root, "worktree", "remove", "--force", "--force", str(tree))
    if tree.parent.parent == Path(tempfile.gettempdir()).resolve():
        shutil.rmtree(tree.parent, ignore_errors=True)
    return f"removed {tree}"
