"""The locks that a killed DVC leaves: which belong to no living process, which are in the way, and their removal.

`.dvc/tmp/rwlock` is a JSON file: for each path in use, the id and the command of the process that reads or writes it.
A killed DVC does not take itself out. The next one forgets a process that is gone, but is blocked by a living process
that was given the same id since, and by a file that a kill cut off. `.dvc/tmp/lock` and `rwlock.lock` are held by the
system on behalf of a process, and free when it ends, unless core.hardlink_lock is set.
"""

import json
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

from gptmodel.doctor.finding import Finding
from gptmodel.files import atomic_write
from gptmodel.project.dvc_config import is_set
from gptmodel.units import age, listed

CLOCK_SECONDS = 2.0
"""How far the clocks of processes and files may lie apart."""


def dvc_locks(root: Path) -> Iterator[Finding]:
    """Examine DVC's locks."""
    yield from _rwlock(root)
    yield from _repository_lock(root)


def _rwlock(root: Path) -> Iterator[Finding]:
    path, mend = root / ".dvc" / "tmp" / "rwlock", partial(_mend, root)
    try:
        entries = _entries(_read(path))
    except FileNotFoundError:
        yield Finding("ok", "no path is locked by DVC")
        return
    except (ValueError, TypeError):
        text = ".dvc/tmp/rwlock was cut off by a kill, and every DVC command fails on it; --mend removes it"
        yield Finding("problem", text, mend)
        return
    modified = path.stat().st_mtime
    dead = {pid: cmd for pid, cmd in entries if not psutil.pid_exists(pid)}
    reused = {pid: cmd for pid, cmd in entries if pid not in dead and _is_younger(pid, modified)}
    if dead:
        who = listed([f"`{cmd}` (PID {pid})" for pid, cmd in dead.items()], 3)
        text = f"DVC still has locks of killed processes: {who}; they block nothing, and --mend removes them"
        yield Finding("note", text, mend)
    for pid, cmd in reused.items():
        text = f"`{cmd}` (PID {pid}) was killed, but another process now has its id, and that blocks DVC"
        yield Finding("problem", f"{text}; --mend removes the locks", mend)
    for pid, cmd in entries:
        if pid in dead or pid in reused:
            continue
        text = f"`{cmd}` (PID {pid}) is running and has locked its files: let it finish"
        if not _runs(pid, cmd):
            text += f"; if that process is no longer DVC (it runs `{_command(pid)}`), remove .dvc/tmp/rwlock"
        yield Finding("note", text)
    if not entries:
        yield Finding("ok", "no path is locked by DVC")


def _read(path: Path) -> dict[str, Any]:
    value = json.loads(path.read_bytes())
    return dict(value)


def _entries(locks: dict[str, Any]) -> list[tuple[int, str]]:
    """Return the processes in the lock file, each once; ValueError when DVC did not write it so."""
    try:
        infos = [
            *locks.get("write", {}).values(),
            *(info for infos in locks.get("read", {}).values() for info in infos),
        ]
        processes = {(info["pid"], info["cmd"]) for info in infos}
        if not all(type(pid) is int and isinstance(cmd, str) for pid, cmd in processes):
            raise ValueError("not process ids and commands")
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(str(error)) from None
    return sorted(processes)


def _is_younger(pid: int, moment: float) -> bool:
    """Tell whether a process began after the lock file was last written, so that it cannot be in there."""
    try:
        return bool(psutil.Process(pid).create_time() > moment + CLOCK_SECONDS)
    except psutil.Error:
        return False


def _runs(pid: int, cmd: str) -> bool:
    return _command(pid).endswith(cmd.rpartition("/")[2])


def _command(pid: int) -> str:
    try:
        return " ".join(psutil.Process(pid).cmdline())
    except psutil.Error:
        return "?"


def _mend(root: Path) -> str:
    """Take processes that are gone out of the lock file, while DVC is kept out of it."""
    from dvc.lock import LockError, make_lock  # type: ignore[import-untyped]

    folder = root / ".dvc" / "tmp"
    path = folder / "rwlock"
    hard = is_set(root, "core", "hardlink_lock")
    try:
        with make_lock(str(folder / "rwlock.lock"), tmp_dir=str(folder), hardlink_lock=hard):
            try:
                locks = _read(path)
                entries = _entries(locks)
            except FileNotFoundError:
                return "DVC no longer locks any path"
            except (ValueError, TypeError):
                path.unlink()
                return "removed .dvc/tmp/rwlock"
            modified = path.stat().st_mtime
            dead = {pid for pid, _ in entries if not psutil.pid_exists(pid) or _is_younger(pid, modified)}
            writers = {key: info for key, info in locks.get("write", {}).items() if info["pid"] not in dead}
            readers = {key: [i for i in infos if i["pid"] not in dead] for key, infos in locks.get("read", {}).items()}
            living = {"write": writers, "read": {key: infos for key, infos in readers.items() if infos}}
            atomic_write(path, json.dumps({key: value for key, value in living.items() if value}).encode())
    except LockError:
        return "nothing: a DVC command is changing the locks right now; run this again"
    return f"the locks of {listed([f'PID {pid}' for pid in sorted(dead)]) if dead else 'killed processes'} are gone"


def _repository_lock(root: Path) -> Iterator[Finding]:
    path = root / ".dvc" / "tmp" / "lock"
    if not is_set(root, "core", "hardlink_lock") or not path.exists():
        return  # the system holds it, and lets go of it when a process ends
    since = age(time.time() - path.stat().st_mtime)
    text = f".dvc/tmp/lock was made {since} ago (core.hardlink_lock is set, so it outlives a kill)"
    yield Finding("note", f"{text}: if no DVC command runs on any machine, remove it")
