"""Peak memory: training at the same sizes, ours and the peers', each in a new process; and preparing a text.

`python -m benchmarks.memory` prints megabytes when the model is built and after some iterations (Linux only). What
counts is VmHWM of the process itself: ru_maxrss of a new process begins with the pages of the one that started it.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.models import SIZES, Sizes
from benchmarks.peers import contestants
from benchmarks.report import ROOT, Results, cell, options, progress, ratios, run, spread, table

LARGER = Sizes(n_layer=6, n_head=6, n_embd=384, block_size=256, batch_size=8, like_nanogpt=True)
ALL_SIZES = {**SIZES, "larger": LARGER}
PEAK = """
import sys
from pathlib import Path

def peak():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024
"""
TRAIN = """
from benchmarks.memory import ALL_SIZES
from benchmarks.peers import CONTESTANTS
name, sizes, threads, iterations = sys.argv[1:]
train = CONTESTANTS[name](ALL_SIZES[sizes], int(threads))
before = peak()
train(int(iterations))
print("peaks", before, peak())
"""
PREPARE = """
from gptmodel.config import PrepareParams
from gptmodel.data.corpus import prepare
text, out = map(Path, sys.argv[1:])
before = peak()
prepare(text, out, PrepareParams(tokenizer="char", train_fraction=0.9))
print("peaks", before, peak())
"""


def parser() -> argparse.ArgumentParser:
    """Return the options."""
    found = options(__doc__)
    found.add_argument("--sizes", choices=ALL_SIZES, nargs="*", default=list(ALL_SIZES))
    found.add_argument("--threads", type=int, default=2)
    found.add_argument("--rounds", type=int, default=3)
    found.add_argument("--iterations", type=int, default=5)
    found.add_argument("--megabytes", type=int, nargs="*", default=[20, 200], help="sizes of texts to prepare")
    return found


def peaks(code: str, *words: str) -> tuple[float, float]:
    """Run code in a new process; return its peak in megabytes before and after the work."""
    command = [sys.executable, "-c", PEAK + code, *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    before, after = done.stdout.rsplit("peaks", 1)[1].split()
    return int(before) / 1e6, int(after) / 1e6


def training(sizes: str, given: argparse.Namespace) -> Results:
    """Return the peaks of each contestant, round after round."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in contestants()}
    for number in range(given.rounds):
        progress(f"memory of training at {sizes} sizes, round {number + 1} of {given.rounds}")
        for name, values in found.items():
            values.append(peaks(TRAIN, name, sizes, str(given.threads), str(given.iterations)))
    ours = [after for _, after in found["gptmodel"]]
    return {
        "sizes": str(ALL_SIZES[sizes]),
        "contestants": {
            name: {
                "built": spread([before for before, _ in values]),
                "trained": spread([after for _, after in values]),
                "times_ours": ratios([after for _, after in values], ours),
            }
            for name, values in found.items()
        },
    }


def preparing(megabytes: int, rounds: int) -> Results:
    """Return how much the peak grows while a text is prepared."""
    grown = []
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder, "input.txt")
        text.write_bytes(bytes(range(33, 98)) * (megabytes * 1_000_000 // 65))
        for _ in range(rounds):
            before, after = peaks(PREPARE, str(text), str(Path(folder, "out")))
            grown.append(after - before)
    return {"megabytes": megabytes, "grown": spread(grown)}


def measure(given: argparse.Namespace) -> Results:
    """Measure training at each of the sizes, then preparing."""
    if sys.platform != "linux":
        raise SystemExit("benchmarks.memory reads /proc/self/status, which only Linux has")
    return {
        "threads": given.threads,
        "rounds": given.rounds,
        "iterations": given.iterations,
        "training": {sizes: training(sizes, given) for sizes in given.sizes},
        "preparing": [preparing(megabytes, given.rounds) for megabytes in given.megabytes],
    }


def markdown(results: Results) -> str:
    """Return a table of training and one of preparing."""
    rows = [
        (
            f"{sizes}: {found['sizes']}",
            name,
            *(cell(row[key], 0) for key in ("built", "trained")),
            cell(row["times_ours"], 2),
        )
        for sizes, found in results["training"].items()
        for name, row in found["contestants"].items()
    ]
    head = ("sizes", "", "MB when built", f"MB after {results['iterations']} iterations", "times ours")
    texts = ((f"{found['megabytes']}", cell(found["grown"])) for found in results["preparing"])
    return f"Threads: {results['threads']}; rounds: {results['rounds']}.\n\n{table(head, rows)}\n\n" + table(
        ("MB of text prepared", "MB of memory it took beyond the imports"), texts
    )


if __name__ == "__main__":
    run(parser(), measure, markdown)
