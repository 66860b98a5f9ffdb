"""Start-up.

Whole commands in a clean clone with a text of 132 kB; and the contestants of "Training speed" at the tutorial's sizes,
each from the start of Python until its model is built and until its first iteration is done. A first round does not
count: it compiles and reads files.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.command import new_parser, progress, run
from benchmarks.contestants.loops import contestants
from benchmarks.figures.results import Results
from benchmarks.figures.tables import cell, conditions, spread, table
from benchmarks.paths import ROOT
from benchmarks.probes.clone import PAUSE, clone, run_as_user
from benchmarks.texts import LETTERS

TEXT = f"{LETTERS}\n" * 2000
SHORT = [
    "model.n_layer=1",
    *("train.max_iters=1", "train.eval_interval=1", "train.eval_iters=1"),
    *("sample.max_new_tokens=1", "sample.num_samples=1"),
]
TRAIN = ("-m", "stages.train", "--out", "try")
COMMANDS = {
    "`python -m stages.train --help`": ("-m", "stages.train", "--help"),
    "`python -m stages.train`, one iteration, without MLflow": (*TRAIN, "-S", "runtime.mlflow=false"),
    "`python -m stages.train`, one iteration": TRAIN,
    "`dvc repro`, nothing to do": ("-m", "dvc", "repro"),
}


def options() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = new_parser("startup", __doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--commands", choices=COMMANDS, nargs="*", default=list(COMMANDS))
    return parser


def command(folder: Path, *words: str) -> float:
    """Run Python in a folder; return the seconds it took."""
    started = time.perf_counter()
    run_as_user(folder, *words)
    return time.perf_counter() - started


def project(folder: Path) -> None:
    """Clone the project and run its pipeline on a small text."""
    clone(folder, SHORT, TEXT.encode())
    command(folder, "-m", "dvc", "repro")
    time.sleep(PAUSE)


def first_iteration(name: str, threads: int) -> dict[str, float]:
    """Start a contestant; return the seconds until it was built and until it had trained an iteration."""
    started = time.perf_counter()
    words = [sys.executable, "-m", "benchmarks.probes.first_iteration", name, "tutorial", str(threads)]
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
    return seconds


def measure(arguments: argparse.Namespace) -> Results:
    """Time all in turn, round after round."""
    commands: dict[str, list[float]] = {name: [] for name in arguments.commands}
    starts: dict[str, list[dict[str, float]]] = {name: [] for name in contestants()}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name, "project")
        if commands:
            project(folder)
        for number in range(arguments.rounds + 1):
            progress(f"starting up, round {number} of {arguments.rounds}")
            for title, seconds in commands.items():
                seconds.append(command(folder, *COMMANDS[title]))
                if COMMANDS[title] == TRAIN:
                    time.sleep(PAUSE)
            for contestant, rounds in starts.items():
                rounds.append(first_iteration(contestant, arguments.threads))
    return {
        "threads": arguments.threads,
        "rounds": arguments.rounds,
        "commands": {title: spread(seconds[1:]) for title, seconds in commands.items()},
        "contestants": {
            contestant: {step: spread([start[step] for start in rounds[1:]]) for step in ("built", "iterated")}
            for contestant, rounds in starts.items()
        },
    }


def markdown(results: Results) -> str:
    """Return a table of the commands and one of the contestants."""
    commands = ((title, cell(seconds, 2)) for title, seconds in results["commands"].items())
    starts = (
        (name, *(cell(seconds[step], 2) for step in ("built", "iterated")))
        for name, seconds in results["contestants"].items()
    )
    return f"{conditions(results)}\n\n{table(('command', 'seconds'), commands)}\n\n" + table(
        ("", "seconds until the model is built", "until the first iteration is done"), starts
    )


if __name__ == "__main__":
    run(options(), measure, markdown)
