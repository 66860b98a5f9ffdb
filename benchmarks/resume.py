"""Going on after a kill: seconds from the command to the first new iteration, by default; and what a snapshot costs.

`python -m benchmarks.resume` kills a training (SIGKILL) again and again. A new iteration is seen from outside, by the
snapshot that follows it: the only changed setting is that each iteration writes one, so its time is included.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.report import ROOT, Results, cell, options, progress, run, spread, table
from gptmodel.params_file import load_params
from gptmodel.training.snapshot import SnapshotStore

TRAIN = [sys.executable, "-m", "stages.train", "-S", "runtime.snapshot_seconds=0.000001"]
PAUSE = 8.0
"""Seconds for the process of a killed training that sends to MLflow to end: it would compete with the next."""
TEXT_BYTES = 5_000_000


def parser() -> argparse.ArgumentParser:
    """Return the options."""
    found = options(__doc__)
    found.add_argument("--rounds", type=int, default=7, help="kills")
    found.add_argument("--snapshots", type=int, default=20)
    return found


def newest(folder: Path) -> int:
    """Return the iteration of the newest snapshot, 0 without one."""
    return max((int(path.stem.partition("-")[2]) for path in folder.glob("runs/*/snapshot-*.pt")), default=0)


def until_killed(folder: Path, environment: dict[str, str]) -> float:
    """Train until there is a new snapshot, and kill; return the seconds from the start of the process."""
    before = newest(folder)
    start = time.perf_counter()
    process = subprocess.Popen(TRAIN, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    while newest(folder) <= before:
        if process.poll() is not None:
            raise SystemExit(process.communicate()[1].decode())
        time.sleep(0.002)
    seconds = time.perf_counter() - start
    process.kill()
    process.communicate()
    return seconds


def prepared(folder: Path, environment: dict[str, str]) -> None:
    """Make a project of the default settings and a generated text."""
    shutil.copyfile(ROOT / "params.yaml", folder / "params.yaml")
    (folder / "data").mkdir()
    letters = [chr(code) for code in range(32, 110)]
    text = "".join(np.random.default_rng(0).choice(letters, TEXT_BYTES))
    (folder / "data" / "input.txt").write_text(text, encoding="ascii")
    words = [sys.executable, "-m", "stages.prepare"]
    subprocess.run(words, cwd=folder, env=environment, check=True, capture_output=True)


def saved(kept: Path, again: SnapshotStore, count: int) -> list[float]:
    """Save the newest snapshot again and again; return the milliseconds of each."""
    state = SnapshotStore(kept).load_newest()
    assert state is not None
    found = []
    for number in range(count):
        start = time.perf_counter()
        again.save(number, state)
        found.append(1000 * (time.perf_counter() - start))
    return found


def measure(given: argparse.Namespace) -> Results:
    """Kill and go on, then save the last snapshot again and again."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        prepared(folder, environment)
        until_killed(folder, environment)  # the first one evaluates before its first iteration, with nothing to restore
        resumed = []
        for number in range(given.rounds):
            progress(f"going on after kill {number + 1} of {given.rounds}")
            time.sleep(PAUSE)
            resumed.append(until_killed(folder, environment))
        (kept,) = {path.parent for path in folder.glob("runs/*/snapshot-*.pt")}
        size = max(path.stat().st_size for path in kept.glob("snapshot-*.pt"))
        milliseconds = saved(kept, SnapshotStore(folder / "again"), given.snapshots)
        time.sleep(PAUSE)
    return {
        "kills": given.rounds,
        "resumed_seconds": spread(resumed),
        "snapshots": given.snapshots,
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
    run(parser(), measure, markdown)
