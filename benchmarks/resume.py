"""Going on after a kill: seconds from the command to the first new iteration, by default; and what a snapshot costs.

`python -m benchmarks.resume` kills a training (SIGKILL) again and again. A new iteration is seen from outside, by the
snapshot that follows it: the only changed setting is that each iteration writes one, so its time is included.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from gptmodel.config import load_params
from gptmodel.training.snapshot import SnapshotStore

ROOT = Path(__file__).resolve().parents[1]
TRAIN = [sys.executable, "-m", "stages.train", "-S", "runtime.snapshot_seconds=0.000001"]
PAUSE = 8.0
"""Seconds for the process of a killed training that sends to MLflow to end: it would compete with the next."""


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


def report(name: str, values: list[float], unit: str) -> None:
    """Print the smallest, the median and the largest value."""
    middle = statistics.median(values)
    print(f"{name}: min {min(values):.2f}, median {middle:.2f}, max {max(values):.2f} {unit} of {len(values)}")


def main() -> None:
    """Kill and go on, then save the last snapshot again and again."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        shutil.copyfile(ROOT / "params.yaml", folder / "params.yaml")
        (folder / "data").mkdir()
        letters = [chr(code) for code in range(32, 110)]
        text = "".join(np.random.default_rng(0).choice(letters, 5_000_000))
        (folder / "data" / "input.txt").write_text(text, encoding="ascii")
        subprocess.run([sys.executable, "-m", "stages.prepare"], cwd=folder, env=environment, check=True)
        until_killed(
            folder, environment
        )  # the first one evaluates before its first iteration, and has nothing to restore
        resumed = []
        for _ in range(rounds):
            time.sleep(PAUSE)
            resumed.append(until_killed(folder, environment))
        report("from the command to the first new iteration", resumed, "s")
        (kept,) = {path.parent for path in folder.glob("runs/*/snapshot-*.pt")}
        state, again = SnapshotStore(kept).load_newest(), SnapshotStore(folder / "again")
        assert state is not None
        saved = []
        for number in range(20):
            start = time.perf_counter()
            again.save(number, state)
            saved.append(1000 * (time.perf_counter() - start))
        report("a snapshot", saved, "ms")
        every = load_params(ROOT / "params.yaml").runtime.snapshot_seconds
        size = max(path.stat().st_size for path in kept.glob("snapshot-*.pt"))
        share = statistics.median(saved) / 1000 / every
        print(f"{size / 1e6:.1f} MB every {every:g} s: {share:.2%} of the time")
        time.sleep(PAUSE)


if __name__ == "__main__":
    main()
