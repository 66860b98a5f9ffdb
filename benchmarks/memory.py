"""Peak memory.

The largest resident size (VmHWM, on Linux only) of a new process that imports, builds a contestant of "Training speed"
and trains it. Below it, how much the largest resident size of a process grows while it prepares a text.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.command import new_parser, progress, run
from benchmarks.contestants.loops import contestants
from benchmarks.contestants.sizes import ALL_SIZES
from benchmarks.figures.results import Results
from benchmarks.figures.tables import cell, conditions, ratios, spread, table
from benchmarks.paths import ROOT
from benchmarks.probes.start import run_python
from benchmarks.texts import repeated_letters


def options() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = new_parser("memory", __doc__)
    parser.add_argument("--sizes", choices=ALL_SIZES, nargs="*", default=list(ALL_SIZES))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--iterations", type=int, default=3)
    parser.add_argument("--megabytes", type=int, nargs="*", default=[20, 200], help="sizes of texts to prepare")
    return parser


def peaks(probe: str, *arguments: str) -> tuple[float, float]:
    """Run a program of benchmarks/probes; return its peak in megabytes before and after the work."""
    printed = run_python(ROOT, "-m", f"benchmarks.probes.{probe}", *arguments)
    before, after = printed.splitlines()[-1].split()
    return int(before) / 1e6, int(after) / 1e6


def training(sizes: str, arguments: argparse.Namespace) -> Results:
    """Return the peaks of each contestant, round after round."""
    megabytes: dict[str, list[tuple[float, float]]] = {name: [] for name in contestants()}
    for number in range(arguments.rounds):
        progress(f"memory of training at {sizes} sizes, round {number + 1} of {arguments.rounds}")
        for name, values in megabytes.items():
            values.append(peaks("training_memory", name, sizes, f"{arguments.threads}", f"{arguments.iterations}"))
    ours = [after for _, after in megabytes["gptmodel"]]
    return {
        "sizes": str(ALL_SIZES[sizes]),
        "contestants": {
            name: {
                "built": spread([before for before, _ in values]),
                "trained": spread([after for _, after in values]),
                "times_ours": ratios([after for _, after in values], ours),
            }
            for name, values in megabytes.items()
        },
    }


def preparing(megabytes: int, rounds: int) -> Results:
    """Return how much the peak grows while a text is prepared."""
    growth = []
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder, "input.txt")
        text.write_bytes(repeated_letters(megabytes * 1_000_000))
        for _ in range(rounds):
            before, after = peaks("preparing_memory", str(text), str(Path(folder, "out")))
            growth.append(after - before)
    return {"megabytes": megabytes, "grown": spread(growth)}


def measure(arguments: argparse.Namespace) -> Results:
    """Measure training at each of the sizes, then preparing."""
    if sys.platform != "linux":
        raise SystemExit("benchmarks.memory reads /proc/self/status, which only Linux has")
    return {
        "threads": arguments.threads,
        "rounds": arguments.rounds,
        "iterations": arguments.iterations,
        "training": {sizes: training(sizes, arguments) for sizes in arguments.sizes},
        "preparing": [preparing(megabytes, arguments.rounds) for megabytes in arguments.megabytes],
    }


def markdown(results: Results) -> str:
    """Return a table of training and one of preparing."""
    rows = [
        (
            f"{sizes}: {figures['sizes']}",
            name,
            *(cell(row[key], 0) for key in ("built", "trained")),
            cell(row["times_ours"], 2),
        )
        for sizes, figures in results["training"].items()
        for name, row in figures["contestants"].items()
    ]
    head = ("sizes", "", "MB when built", f"MB after {results['iterations']} iterations", "ratio to gptmodel")
    texts = ((f"{figures['megabytes']}", cell(figures["grown"])) for figures in results["preparing"])
    return f"{conditions(results)}\n\n{table(head, rows)}\n\n" + table(
        ("MB of text prepared", "MB of memory it took beyond the imports"), texts
    )


if __name__ == "__main__":
    run(options(), measure, markdown)
