"""Start-up: seconds from a command to what it shows first, ours and the peers', in rounds that take turns.

`python -m benchmarks.startup` times whole commands in a clean clone with a small text: the help, a training of one
iteration with and without MLflow, and `dvc repro` with nothing to do; and, of each contestant of benchmarks/peers.py,
from the start of Python until its model is built and until its first iteration is done.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.report import ROOT, Results, cell, options, progress, run, spread, table

PAUSE = 8.0
"""Seconds for the process that sends a finished training to MLflow to end: it would compete with the next."""
TEXT = ("".join(map(chr, range(33, 98))) + "\n") * 2000
SHORT = {
    "model": {"n_layer": 1},
    "train": {"max_iters": 1, "eval_interval": 1, "eval_iters": 1},
    "sample": {"max_new_tokens": 1, "num_samples": 1},
}
TRAIN = ("-m", "stages.train", "--out", "try")
COMMANDS = {
    "`python -m stages.train --help`": ("-m", "stages.train", "--help"),
    "`python -m stages.train`, one iteration, without MLflow": (*TRAIN, "-S", "runtime.mlflow=false"),
    "`python -m stages.train`, one iteration": TRAIN,
    "`dvc repro`, nothing to do": ("-m", "dvc", "repro"),
}
STEPS = """
import sys
from benchmarks.models import SIZES
from benchmarks.peers import CONTESTANTS
train = CONTESTANTS[sys.argv[1]](SIZES[sys.argv[2]], int(sys.argv[3]))
print("built", flush=True)
train(1)
print("iterated", flush=True)
"""


def parser() -> argparse.ArgumentParser:
    """Return the options."""
    found = options(__doc__)
    found.add_argument("--rounds", type=int, default=5)
    found.add_argument("--threads", type=int, default=2)
    found.add_argument("--commands", choices=COMMANDS, nargs="*", default=list(COMMANDS))
    return found


def environment() -> dict[str, str]:
    """Return the environment of a user who activated this Python's."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return {**os.environ, "PATH": path, "DVC_NO_ANALYTICS": "1"}


def command(folder: Path, *words: str) -> float:
    """Run Python in a folder and return the seconds it took."""
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment(), capture_output=True, text=True, check=False
    )
    seconds = time.perf_counter() - started
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}: {done.stderr}")
    return seconds


def project(folder: Path) -> None:
    """Clone the project and run its pipeline on a small text."""
    import yaml

    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    values: dict[str, dict[str, Any]] = yaml.safe_load((folder / "params.yaml").read_text(encoding="utf-8"))
    for section, changes in SHORT.items():
        values[section].update(changes)
    values["fetch"]["source"] = "own"
    (folder / "params.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    (folder / "data" / "input.txt").write_text(TEXT, encoding="ascii")
    command(folder, "-m", "dvc", "repro")
    time.sleep(PAUSE)


def first_iteration(name: str, threads: int) -> tuple[float, float]:
    """Start a contestant; return the seconds until it was built and until it had trained an iteration."""
    started = time.perf_counter()
    words = [sys.executable, "-c", STEPS, name, "tutorial", str(threads)]
    seconds = {}
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, text=True) as process,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            seconds[line.strip()] = time.perf_counter() - started
        if process.wait():
            errors.seek(0)
            raise SystemExit(f"{name}: {errors.read()}")
    return seconds["built"], seconds["iterated"]


def measure(given: argparse.Namespace) -> Results:
    """Time all in turn, after a first round that does not count: it compiles and reads files."""
    from benchmarks.peers import contestants

    commands: dict[str, list[float]] = {name: [] for name in given.commands}
    steps: dict[str, list[tuple[float, float]]] = {name: [] for name in contestants()}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name, "project")
        if commands:
            project(folder)
        for number in range(given.rounds + 1):
            progress(f"starting up, round {number} of {given.rounds}")
            for words, seconds in commands.items():
                seconds.append(command(folder, *COMMANDS[words]))
                if COMMANDS[words] == TRAIN:
                    time.sleep(PAUSE)
            for contestant, found in steps.items():
                found.append(first_iteration(contestant, given.threads))
    return {
        "threads": given.threads,
        "rounds": given.rounds,
        "commands": {name: spread(seconds[1:]) for name, seconds in commands.items()},
        "contestants": {
            name: {
                "built": spread([built for built, _ in found[1:]]),
                "iterated": spread([iterated for _, iterated in found[1:]]),
            }
            for name, found in steps.items()
        },
    }


def markdown(results: Results) -> str:
    """Return a table of the commands and one of the contestants."""
    commands = table(("command", "seconds"), ((name, cell(found, 2)) for name, found in results["commands"].items()))
    rows = (
        (name, cell(found["built"], 2), cell(found["iterated"], 2)) for name, found in results["contestants"].items()
    )
    return f"Threads: {results['threads']}; rounds: {results['rounds']}.\n\n{commands}\n\n" + table(
        ("", "seconds until the model is built", "until the first iteration is done"), rows
    )


if __name__ == "__main__":
    run(parser(), measure, markdown)
