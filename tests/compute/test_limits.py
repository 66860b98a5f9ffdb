"""The smallest limit on memory and cores is found, and named."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from model_helpers import ROOT

from gptmodel.compute.limits import memory_limit, usable_cores
from gptmodel.compute.place import Place, has_idle_cores
from gptmodel.params_file import load_params

GROUP = "the container or control group allows"


def machine(root: Path, groups: str, files: dict[str, str]) -> Path:
    """A root folder with control groups."""
    for name, text in {"proc/self/cgroup": groups, **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        ("0::/a/b", {"sys/fs/cgroup/a/b/memory.max": "max\n", "sys/fs/cgroup/a/memory.max": "300000\n"}, 300_000),
        ("0::/a/b", {"sys/fs/cgroup/a/b/memory.max": "200000\n", "sys/fs/cgroup/a/memory.max": "300000\n"}, 200_000),
        ("0::/a", {"sys/fs/cgroup/memory.max": "500000\n"}, 500_000),  # in a container, whose path is not mounted
        ("0::/", {"sys/fs/cgroup/memory.max": "500000"}, 500_000),
        ("4:memory:/x/y\n1:cpu:/z\n", {"sys/fs/cgroup/memory/x/memory.limit_in_bytes": "400000\n"}, 400_000),
        ("2:cpuset,memory:/\n0::/\n", {"sys/fs/cgroup/memory/memory.limit_in_bytes": "400000\n"}, 400_000),
        ("0::/", {"sys/fs/cgroup/memory.max": "max\n"}, None),
        ("4:memory:/", {"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}, None),
        ("0::/", {"sys/fs/cgroup/memory.max": "no number\n"}, None),
        ("0::/../../out", {"sys/fs/cgroup/memory.max": ""}, None),
        ("nothing of the kind", {}, None),
    ],
)
def test_the_limit_of_a_container_holds_wherever_it_is_set(
    tmp_path: Path, groups: str, files: dict[str, str], expected: int | None
) -> None:
    limit = memory_limit(machine(tmp_path, groups, files))
    if expected is None:
        assert limit.words != GROUP
    else:
        assert limit == (expected, GROUP)


def test_without_control_groups_it_is_the_machines_memory(tmp_path: Path) -> None:
    assert memory_limit(tmp_path) == (os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), "this machine has")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not hold a process to these limits")
@pytest.mark.parametrize(("option", "number"), [("-v", "RLIMIT_AS"), ("-d", "RLIMIT_DATA")])
def test_the_limits_of_the_shell_hold(tmp_path: Path, option: str, number: str) -> None:
    code = f"""
import resource
from pathlib import Path
resource.setrlimit(resource.{number}, (1 << 30, 1 << 30))
from gptmodel.compute.limits import memory_limit
limit = memory_limit(Path({str(tmp_path)!r}))
print(limit.words)
assert abs(limit.bytes - (1 << 30)) < 300 << 20, limit
room = bytearray(limit.bytes * 9 // 10)
assert memory_limit(Path({str(tmp_path)!r})).bytes < 1.1 * limit.bytes
try:
    more = bytearray(limit.bytes // 5)
except MemoryError:
    print("no more")
"""
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.stdout.splitlines() == [f"`ulimit {option}` leaves this process", "no more"], result.stderr


@pytest.mark.parametrize(
    ("groups", "files", "cores"),
    [
        ("0::/a", {"sys/fs/cgroup/a/cpu.max": "max 100000\n", "sys/fs/cgroup/cpu.max": "50000 100000\n"}, 0.5),
        (
            "1:cpu,cpuacct:/",
            {"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "25000", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"},
            0.25,
        ),
        ("1:cpu:/", {"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"}, 8),
        ("0::/", {"sys/fs/cgroup/cpu.max": "max 100000"}, 8),
    ],
)
def test_the_cores_that_a_container_is_granted_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, groups: str, files: dict[str, str], cores: float
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert usable_cores(machine(tmp_path, groups, files)) == cores


def test_evaluations_compute_beside_the_iterations_where_cores_are_granted_for_both(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gptmodel.compute.place.usable_cores", lambda: 1.5)
    assert not has_idle_cores(torch.device("cpu"), 1)
    monkeypatch.setattr("gptmodel.compute.place.usable_cores", lambda: 2.0)
    assert has_idle_cores(torch.device("cpu"), 1)


def test_where_one_thread_is_asked_for_it_does_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gptmodel.compute.place.usable_cores", lambda: 8.0)
    params = {threads: load_params(None, [f"runtime.threads={threads}", "train.device=cpu"]) for threads in ("auto", 1)}
    assert {threads: Place.of(params[threads], "train").beside for threads in params} == {"auto": True, 1: False}
