"""Processes that train together.

One training step of the same batch, cut into two parts: by two threads of one process, by two processes that add up
their gradients, and by one thread, one part after the other. All three give the same bytes. In "exchanged" is what a
process sends in an iteration, and how long adding up gradients of that size takes between two processes of this
machine.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.command import new_parser, progress, run
from benchmarks.contestants.sizes import ALL_SIZES
from benchmarks.figures.results import Results
from benchmarks.figures.tables import cell, conditions, ratios, spread, table
from benchmarks.paths import ROOT

WAYS = {"two threads": (1, 2), "two processes": (2, 1), "one thread": (1, 1)}
"""How many processes, and how many threads in each."""


def options() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = new_parser("processes", __doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sizes", nargs="+", choices=ALL_SIZES, default=list(ALL_SIZES))
    parser.add_argument("--iterations", type=int, default=0, help="in a round; 0 = about five seconds of them")
    return parser


def measured(processes: int, threads: int, sizes: str, iterations: int) -> dict[str, Any]:
    """Return what `benchmarks.probes.step_by_ranks` measured."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "measured.json"
        words = [str(processes), sizes, str(threads), str(iterations), str(file)]
        subprocess.run([sys.executable, "-m", "benchmarks.probes.ranks", *words], cwd=ROOT, check=True)
        result: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return result


def measure(arguments: argparse.Namespace) -> Results:
    """Run the three ways in turn at each size."""
    sizes: dict[str, Any] = {}
    for name in arguments.sizes:
        iterations = arguments.iterations or {"tutorial": 400, "nanogpt": 120, "larger": 5}[name]
        rounds: list[dict[str, dict[str, Any]]] = []
        for number in range(arguments.rounds):
            rounds.append({way: measured(*how, name, iterations) for way, how in WAYS.items()})
            times = ", ".join(f"{way} {values['milliseconds']:.1f} ms" for way, values in rounds[-1].items())
            progress(f"{name}, round {number + 1} of {arguments.rounds}: {times}")
        times_of = {way: [values[way]["milliseconds"] for values in rounds] for way in WAYS}
        sizes[name] = {
            "milliseconds": {way: spread(values) for way, values in times_of.items()},
            "faster": ratios(times_of["two threads"], times_of["two processes"]),
            "numbers": rounds[0]["two processes"]["numbers"],
            "exchange": spread([values["two processes"]["exchange"] for values in rounds]),
        }
    return {"rounds": arguments.rounds, "sizes": sizes}


def markdown(results: Results) -> str:
    """Return a row for each size."""
    rows = [
        [
            name,
            *(cell(values["milliseconds"][way], 2) for way in WAYS),
            cell(values["faster"], 2),
            f"{4 * values['numbers'] / 1e6:,.1f} MB in {cell(values['exchange'], 2)} ms",
        ]
        for name, values in results["sizes"].items()
    ]
    head = ["sizes", *(f"{way}, ms" for way in WAYS), "threads / processes", "exchanged"]
    return f"{conditions(results)}\n\n{table(head, rows)}"


if __name__ == "__main__":
    run(options(), measure, markdown)
