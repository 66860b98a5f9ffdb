"""Going on after a kill.

A training with the default settings and a made-up text of 5 MB, killed (SIGKILL) again and again. The time until the
first new iteration begins with the command, imports included. The snapshot after the iteration shows that it is done,
so its time is included too: the only changed setting is that each iteration writes one.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.command import new_parser, progress, run
from benchmarks.figures.results import Results
from benchmarks.figures.tables import cell, spread, table
from benchmarks.paths import ROOT
from benchmarks.probes.clone import PAUSE
from benchmarks.probes.start import run_python
from benchmarks.texts import random_text
from gptmodel.params_file import load_params
from gptmodel.training.snapshot import SnapshotStore

TRAIN = [sys.executable, "-m", "stages.train", "-S", "runtime.snapshot_seconds=0.000001"]
TEXT_BYTES = 5_000_000
LETTERS = "".join(map(chr, range(32, 110)))


def options() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = new_parser("resume", __doc__)
    parser.add_argument("--rounds", type=int, default=4, help="kills")
    parser.add_argument("--snapshots", type=int, default=20)
    return parser


def newest(folder: Path) -> int:
    """Return the iteration of the newest snapshot, 0 without one."""
    return max((int(path.stem.partition("-")[2]) for path in folder.glob("runs/*/snapshot-*.pt")), default=0)


def until_killed(folder: Path) -> float:
    """Train until there is a new snapshot, and kill; return the seconds from the start of the process."""
    before = newest(folder)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    started = time.perf_counter()
    process = subprocess.Popen(TRAIN, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    while newest(folder) <= before:
        if process.poll() is not None:
            raise SystemExit(process.communicate()[1].decode())
        time.sleep(0.002)
    seconds = time.perf_counter() - started
    process.kill()
    process.communicate()
    return seconds


def prepare(folder: Path) -> None:
    """Make a project of the default settings and a made-up text."""
    shutil.copyfile(ROOT / "params.yaml", folder / "params.yaml")
    (folder / "data").mkdir()
    (folder / "data" / "input.txt").write_text(random_text(TEXT_BYTES, LETTERS), encoding="ascii")
    run_python(folder, "-m", "stages.prepare", PYTHONPATH=str(ROOT))


def save_again(run_folder: Path, store: SnapshotStore, count: int) -> list[float]:
    """Save the newest snapshot of a run again and again; return the milliseconds of each."""
    state = SnapshotStore(run_folder).load_newest()
    assert state is not None
    milliseconds = []
    for number in range(count):
        started = time.perf_counter()
        store.save(number, state)
        milliseconds.append(1000 * (time.perf_counter() - started))
    return milliseconds


def measure(arguments: argparse.Namespace) -> Results:
    """Kill and go on, then save the last snapshot again and again."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        prepare(folder)
        until_killed(folder)  # the first one evaluates before its first iteration, with nothing to restore
        resumed = []
        for number in range(arguments.rounds):
            progress(f"going on after kill {number + 1} of {arguments.rounds}")
            time.sleep(PAUSE)
            resumed.append(until_killed(folder))
        (run_folder,) = {path.parent for path in folder.glob("runs/*/snapshot-*.pt")}
        size = max(path.stat().st_size for path in run_folder.glob("snapshot-*.pt"))
        milliseconds = save_again(run_folder, SnapshotStore(folder / "again"), arguments.snapshots)
        time.sleep(PAUSE)
    return {
        "kills": arguments.rounds,
        "resumed_seconds": spread(resumed),
        "snapshots": arguments.snapshots,
        "snapshot_milliseconds": spread(milliseconds),
        "snapshot_bytes": size,
        "snapshot_every": load_params(ROOT / "params.yaml").runtime.snapshot_seconds,
    }


def markdown(results: Results) -> str:
    """Return a table, and what snapshots cost in all."""
    milliseconds = results["snapshot_milliseconds"]
    rows = [
        ("from the command to the first new iteration", f"{cell(results['resumed_seconds'])} s", f"{results['kills']}"),
        ("a snapshot", f"{cell(milliseconds)} ms", f"{results['snapshots']}"),
    ]
    share = milliseconds["median"] / 1000 / results["snapshot_every"]
    return (
        f"{table(('', 'time', 'measured'), rows)}\n\nA snapshot of {results['snapshot_bytes'] / 1e6:.1f} MB is written "
        f"every {results['snapshot_every']:g} s by default: {share:.2%} of the time."
    )


if __name__ == "__main__":
    run(options(), measure, markdown)
