"""What all benchmarks share: options, the machine, rounds as median and spread, tables, and results as JSON.

A benchmark is a module with `parser`, `measure` (options -> results that JSON can hold) and `markdown` (results ->
tables): its command prints the tables, and `python -m benchmarks.document` puts the same ones into docs/BENCHMARKS.md.
"""

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePath
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PEERS = ("transformers", "litgpt")
PACKAGES = ("torch", "numpy", *PEERS)
Results = dict[str, Any]


def options(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the option that all benchmarks have."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there too")
    return parser


def run(
    parser: argparse.ArgumentParser,
    measure: Callable[[argparse.Namespace], Results],
    markdown: Callable[[Results], str],
) -> None:
    """Measure what the command line asks for, write JSON, and print the tables."""
    given = parser.parse_args()
    started = time.perf_counter()
    results = measure(given)
    if given.json is not None:
        whole = described(Path(sys.argv[0]).stem, sys.argv[1:], time.perf_counter() - started, results)
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(whole, indent=1) + "\n")
    print(markdown(results))


def described(name: str, words: Sequence[str], seconds: float, results: Results) -> Results:
    """Return results with what they are, how, when, for how long and where they were measured."""
    return {
        "benchmark": name,
        "command": command(name, words),
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        "seconds": round(seconds, 1),
        "machine": machine(),
        "results": results,
    }


def command(name: str, words: Sequence[str]) -> str:
    """Return a command as others can give it: without where results go, and files elsewhere by their names."""
    kept = list(words)
    if "--json" in kept:
        del kept[kept.index("--json") : kept.index("--json") + 2]
    paths = [PurePath(word) for word in kept]
    shown = [
        path.name if path.is_absolute() or ".." in path.parts else word for word, path in zip(kept, paths, strict=True)
    ]
    return shlex.join(["python", "-m", f"benchmarks.{name}", *shown])


def machine() -> dict[str, Any]:
    """Return processor, cores, system and the versions that matter."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        lines = info.read_text().splitlines()
        cpu = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), cpu)
    versions = {name: found for name in PACKAGES if (found := version(name))}
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        **versions,
    }


def version(package: str) -> str | None:
    """Return the version of a package, None where it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def progress(line: str) -> None:
    """Say on standard error what is being done."""
    print(line, file=sys.stderr, flush=True)


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return the lowest, the middle and the highest."""
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


def ratios(values: Sequence[float], others: Sequence[float]) -> dict[str, float]:
    """Return the spread of the ratio in each round."""
    return spread([value / other for value, other in zip(values, others, strict=True)])


def cell(values: dict[str, float], digits: int = 1) -> str:
    """Return the median, and in brackets the lowest and the highest."""
    low, middle, high = (f"{values[key]:,.{digits}f}" for key in ("min", "median", "max"))
    return f"{middle} ({low}–{high})"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
