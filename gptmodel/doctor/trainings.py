"""The trainings that were not ended: which there are, and how their states are given up."""

import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from filelock import FileLock, Timeout

from gptmodel.doctor.finding import Finding
from gptmodel.errors import GptModelError
from gptmodel.project.layout import STUDY_MARK
from gptmodel.units import age, size

NAME = re.compile(r"[0-9a-f]{16}")  # of a run's folder
AGE = re.compile(r"(\d{1,6})([dh])")
HOURS = {"d": 24, "h": 1}
ENDS = "runs/ends"
"""Where trainings leave the states in which they ended."""


@dataclass(frozen=True)
class Unfinished:
    """The state of a training that may go on."""

    folder: Path
    snapshots: list[Path]
    """The oldest first."""
    changed: float
    """When it was last written to, as the system counts seconds."""
    bytes: int

    @property
    def study(self) -> str | None:
        """The name of the study that keeps it, if one does."""
        with suppress(OSError):
            return (self.folder / STUDY_MARK).read_bytes().decode(errors="replace") or None
        return None

    @property
    def lock(self) -> Path:
        """The file that a process holds while it trains."""
        return self.folder.with_name(f"{self.folder.name}.lock")


def trainings(root: Path) -> Iterator[Finding]:
    """Examine the trainings that were not ended, and those under way."""
    unfinished, early = False, 0
    of_studies: dict[str, list[Unfinished]] = {}
    for training in _unfinished(root):
        name = training.folder.name
        if is_held(training.lock):
            yield Finding("note", f"runs/{name}: a training is under way")
        elif training.study is not None:
            of_studies.setdefault(training.study, []).append(training)
        elif training.snapshots:
            unfinished = True
            iteration = int(re.sub(r"\D", "", training.snapshots[-1].name) or 0)
            since = age(time.time() - training.changed)
            text = f"runs/{name}: a training stopped at iteration {iteration:,} {since} ago ({size(training.bytes)})"
            hint = "the same settings, data and code go on from there; to give it up,"
            yield Finding("note", f"{text}; {hint} `gptmodel doctor --free {name}`")
        else:
            early += 1
    if early:
        text = "a training" if early == 1 else f"{early} trainings"
        yield Finding(
            "note", f"runs/ has {text} without a snapshot; `gptmodel doctor --free 1d` removes those of a day"
        )
    for study, states in of_studies.items():
        yield _kept_for(study, states)
    if not unfinished:
        yield Finding("ok", "no training was left unfinished")
    if ends := sorted((root / ENDS).glob("*/*.pt")):
        text = "the end of a training" if len(ends) == 1 else f"the ends of {len(ends)} trainings"
        used = size(sum(path.stat().st_size for path in ends))
        hint = "a raised train.max_iters goes on from there; `gptmodel doctor --free ends` removes them"
        yield Finding("ok", f"{ENDS} has {text} ({used}): {hint}")
    if locks := _locks_alone(root):
        text = "a lock file" if len(locks) == 1 else f"{len(locks)} lock files"
        yield Finding(
            "note", f"runs/ has {text} of trainings that are gone; --mend removes them", partial(_unlock, root)
        )


def _kept_for(study: str, states: list[Unfinished]) -> Finding:
    """Say what a study keeps: it is no leftover, but nobody else removes it."""
    text = "1 training" if len(states) == 1 else f"{len(states)} trainings"
    used = size(sum(state.bytes for state in states))
    keeps = f"runs/ keeps {text} of the study {study} ({used}): its best trial, and those that it stopped early"
    return Finding("ok", f"{keeps}; once you need none of them, `gptmodel doctor --free {study}` removes them")


def free(root: Path, what: str) -> Iterator[str]:
    """Give up the states of trainings, of the one named, all of a study or all of an age such as 30d, and say which.

    One that is under way is left alone. `ends` are the states in which trainings ended. Raises GptModelError where
    `what` is none of these.
    """
    if what == "ends":
        used = sum(path.stat().st_size for path in (root / ENDS).glob("*/*.pt"))
        shutil.rmtree(root / ENDS, ignore_errors=True)
        yield f"{ENDS}: removed ({size(used)}); longer trainings would start anew"
        return
    everything = _unfinished(root)
    if match := AGE.fullmatch(what):
        before = time.time() - int(match[1]) * HOURS[match[2]] * 3600
        chosen = [training for training in everything if training.changed <= before]
    else:
        name = what.removeprefix("runs/").rstrip("/")
        chosen = [training for training in everything if name in (training.folder.name, training.study)]
        if not chosen:
            raise GptModelError(
                f"--free {what}: neither the name of a training in runs/ or of a study, as `gptmodel doctor` lists "
                "them, nor an age such as 30d or 12h, nor `ends`"
            )
    for training in chosen:
        name = f"runs/{training.folder.name}"
        try:
            with _held(training.lock):
                shutil.rmtree(training.folder)
        except Timeout:
            yield f"{name}: left alone, as a training is under way"
        else:
            yield f"{name}: removed ({size(training.bytes)}); the same training would start anew"
    if not chosen:
        yield f"no training in runs/ has been left for {what}"


def _locks_alone(root: Path) -> list[Path]:
    """Return the lock files beside which no training is."""
    return [lock for lock in sorted((root / "runs").glob("*.lock")) if not lock.with_suffix("").exists()]


def _unlock(root: Path) -> str:
    locks = _locks_alone(root)
    for lock in locks:
        with suppress(Timeout, OSError), _held(lock):
            pass
    return f"removed {sum(not lock.exists() for lock in locks)} of them"


def is_held(lock: Path) -> bool:
    """Tell whether a living process holds a lock file; one that is only there holds nothing."""
    if not lock.is_file():
        return False
    try:
        with FileLock(lock, timeout=0):
            return False
    except Timeout:
        return True
    except OSError:
        return False


def _unfinished(root: Path) -> list[Unfinished]:
    """Return the states in runs/, the oldest first."""
    states = []
    for folder in (root / "runs").glob("*"):
        if NAME.fullmatch(folder.name) and folder.is_dir() and not folder.is_symlink():
            status = []
            for file in folder.iterdir():
                with suppress(OSError):  # a training under way removes its older snapshots
                    status.append(file.lstat())
            snapshots = sorted(folder.glob("snapshot-*.pt"))
            changed = max((each.st_mtime for each in status), default=folder.lstat().st_mtime)
            states.append(Unfinished(folder, snapshots, changed, sum(each.st_size for each in status)))
    return sorted(states, key=lambda state: state.changed)


@contextmanager
def _held(lock: Path) -> Iterator[None]:
    """Hold the lock of a training while the block runs, and remove it then; Timeout while another process holds it."""
    holder = FileLock(lock, timeout=0)
    with holder:
        yield
        with suppress(OSError):
            lock.unlink()
