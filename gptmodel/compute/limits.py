"""What this process may use of the machine: main memory and cores, by the smallest of the limits that hold."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path("/")


class MemoryLimit(NamedTuple):
    """How much memory a process may have resident, and by what."""

    bytes: int
    words: str
    """What allows it, as a sentence that a size ends: "this machine has"."""


def memory_limit(root: Path = ROOT) -> MemoryLimit:
    """Return the smallest limit of: the machine, its control groups (of a container) below `root`, and `ulimit`."""
    groups = [int(value) for value in _groups(root, "memory", "memory.max", "memory.limit_in_bytes") if value.isdigit()]
    container = [MemoryLimit(value, "the container or control group allows") for value in groups]
    return min([MemoryLimit(_main_memory(), "this machine has"), *container, *_of_process()])


def usable_cores(root: Path = ROOT) -> float:
    """Return how many cores this process may keep busy: those it may run on, or what its control groups grant."""
    cores = [float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)]
    for value in _groups(root, "cpu", "cpu.max", "cpu.cfs_quota_us cpu.cfs_period_us"):
        quota, _, period = value.partition(" ")
        if quota.isdigit() and period.isdigit() and int(period):
            cores.append(int(quota) / int(period))
    return min(cores)


def _groups(root: Path, controller: str, name: str, old_names: str) -> Iterator[str]:
    """Yield a setting of each control group that this process is in, innermost first.

    `name` is its file in version 2; in version 1 the contents of `old_names` are put together, with a space.
    """
    for line in _read(root / "proc" / "self" / "cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and controller not in controllers.split(","):
            continue
        mount = root / "sys" / "fs" / "cgroup" / (controller if controllers else "")
        innermost = mount / path.lstrip("/")
        for group in (innermost, *innermost.parents):
            if not group.is_relative_to(mount):
                break
            if value := " ".join(_read(group / file) for file in (old_names if controllers else name).split()):
                yield value


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


def _main_memory() -> int:
    """Return the bytes of the machine's main memory; where it is not told, as many as can be."""
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return sys.maxsize
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _of_process() -> Iterator[MemoryLimit]:
    """Yield the limits of this process on mapped memory, as what it could then have resident.

    Much is mapped that never becomes resident, libraries above all: it counts as it is now.
    """
    if sys.platform != "linux":
        return
    import resource

    page = resource.getpagesize()
    pages = [int(count) * page for count in Path("/proc/self/statm").read_text(encoding="ascii").split()]
    mapped, resident, data = pages[0], pages[1], pages[5]
    for kind, used, option in ((resource.RLIMIT_AS, mapped, "-v"), (resource.RLIMIT_DATA, data, "-d")):
        most = resource.getrlimit(kind)[0]
        if most != resource.RLIM_INFINITY:
            yield MemoryLimit(max(0, most - used + resident), f"`ulimit {option}` leaves this process")
