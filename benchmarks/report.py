"""What every benchmark says of itself: the machine, the versions, and rounds as median and spread."""

import importlib.metadata
import json
import os
import platform
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "numpy", "transformers", "litgpt")


def machine() -> dict[str, Any]:
    """Return processor, cores, system and the versions that matter."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        cpu = names[0] if names else cpu
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return {"cpu": cpu, "cores": os.cpu_count(), "python": platform.python_version(), **versions}


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return the lowest, the middle and the highest."""
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


def save(path: Path | None, results: dict[str, Any]) -> None:
    """Write results as JSON, with the machine beside them."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"machine": machine(), **results}, indent=2) + "\n")
