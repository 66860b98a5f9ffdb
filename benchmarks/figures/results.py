"""What a file of benchmarks/results holds: the results, and how, when and where they were measured."""

import datetime
import json
import os
import platform
import shlex
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any

import torch

from benchmarks.contestants.peers import PEERS, version

Results = dict[str, Any]


def read_results(name: str, folder: Path) -> list[Results]:
    """Return what the files of a benchmark hold."""
    files = sorted([*folder.glob(f"{name}.json"), *folder.glob(f"{name}-*.json")], key=lambda file: file.stem)
    return [json.loads(file.read_bytes()) for file in files]


def described(name: str, arguments: Sequence[str], seconds: float, results: Results) -> Results:
    """Return what a file of results holds."""
    return {
        "benchmark": name,
        "command": command(name, arguments),
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        "seconds": round(seconds, 1),
        "machine": machine(),
        "results": results,
    }


def command(name: str, arguments: Sequence[str]) -> str:
    """Return the command that others can give: without --json, and with the bare names of files elsewhere."""
    words = list(arguments)
    if "--json" in words:
        del words[words.index("--json") : words.index("--json") + 2]
    for number, path in enumerate(map(PurePath, words)):
        if path.is_absolute() or ".." in path.parts:
            words[number] = path.name
    return shlex.join(["python", "-m", f"benchmarks.{name}", *words])


def machine() -> Results:
    """Return processor, cores, system and the versions that matter."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        lines = info.read_text().splitlines()
        cpu = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), cpu)
    versions = {package: version(package) for package in ("torch", "numpy", *PEERS.values())}
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "system": platform.system(),
        "python": platform.python_version(),
        **{package: number for package, number in versions.items() if number is not None},
    }
