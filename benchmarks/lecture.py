"""The default run and a lecture's script.

Two whole programs, from the text to the samples, in turn, on the same text, each by its defaults but for the number of
iterations, which is shortened equally. One is a plain file of PyTorch, as the lecture behind the tutorial writes it
(`benchmarks/contestants/lecture.py`): a list of heads, no cache, as many threads as torch takes. The other is `dvc
repro` with params.yaml in a clean clone. Both train the same model on as many batches, evaluate as often on as many
batches, and draw as many tokens. `dvc repro` also scores both whole splits, counts baselines, writes plots and a
report, and tracks all of it in MLflow. What does not grow with the iterations weighs the more the fewer they are.
"Training" is the part of each that iterates and evaluates. The seconds of the processor are those of the whole program,
added up over its cores and processes, and hold on a busy machine too; there the script should have one thread
(`--threads 1`), since threads that go in step spend them on waiting for each other.
"""

import argparse
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.command import new_parser, progress, run
from benchmarks.figures.results import Results
from benchmarks.figures.tables import cell, ratios, spread, table
from benchmarks.paths import ROOT
from benchmarks.probes.clone import PAUSE, clone, run_as_user
from benchmarks.probes.start import run_python

SCRIPT, OURS = "the lecture's script", "`dvc repro`"
TIMES = ("whole", "processor", "training")
"""In seconds: the whole program by the clock and by the processor, and its training by the clock."""
TEXT = ROOT / "data" / "input.txt"


def options() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = new_parser("lecture", __doc__)
    parser.add_argument("--text", type=Path, default=TEXT, help="else that of the project, which `dvc repro` fetches")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--iterations", type=int, default=1000)
    parser.add_argument("--eval-iters", type=int, default=200, help="batches of each split in an evaluation")
    parser.add_argument("--tokens", type=int, default=500, help="tokens of each sample")
    parser.add_argument("--threads", type=int, help="of the script, else as many as torch takes")
    return parser


def script(folder: Path, arguments: argparse.Namespace) -> Results:
    """Run the script; return what its last line says."""
    counts = {"max-iters": arguments.iterations, "eval-iters": arguments.eval_iters, "max-new-tokens": arguments.tokens}
    flags = [word for name, count in counts.items() for word in (f"--{name}", str(count))]
    module = ("-m", "benchmarks.contestants.lecture", str(arguments.text.resolve()))
    threads = {} if arguments.threads is None else {"OMP_NUM_THREADS": str(arguments.threads)}
    printed = run_python(folder.parent, *module, *flags, PYTHONPATH=str(ROOT), **threads)
    last: Results = json.loads(printed.splitlines()[-1])
    return last


def pipeline(folder: Path, _arguments: argparse.Namespace) -> Results:
    """Run every stage in the clone, whatever ran before; return what the training says of itself."""
    run_as_user(folder, "-m", "dvc", "repro", "--force")
    trained = json.loads((folder / "metrics" / "train.json").read_bytes())
    return {"training_seconds": trained["seconds"], "val_loss": trained["val_loss"]}


def processor_seconds() -> float:
    """Return the processor's seconds in all processes that were started and have ended."""
    times = os.times()
    return times.children_user + times.children_system


def measure(arguments: argparse.Namespace) -> Results:
    """Run both in turn, round after round."""
    if not arguments.text.is_file():
        raise SystemExit(f"{arguments.text}: no such text; run `dvc repro fetch` first, or give --text FILE")
    text = arguments.text.read_bytes()
    programs: dict[str, Callable[[Path, argparse.Namespace], Results]] = {SCRIPT: script, OURS: pipeline}
    figures: dict[str, dict[str, list[float]]] = {
        name: {what: [] for what in (*TIMES, "val_loss")} for name in programs
    }
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name, "project")
        lengths = {"train.max_iters": "iterations", "train.eval_iters": "eval_iters", "sample.max_new_tokens": "tokens"}
        clone(folder, [f"{key}={getattr(arguments, option)}" for key, option in lengths.items()], text)
        for number in range(arguments.rounds):
            for title, program in programs.items():
                started, computed = time.perf_counter(), processor_seconds()
                said = program(folder, arguments)
                of_one = figures[title]
                of_one["whole"].append(time.perf_counter() - started)
                of_one["processor"].append(processor_seconds() - computed)
                of_one["training"].append(said["training_seconds"])
                of_one["val_loss"].append(said["val_loss"])
                progress(f"round {number + 1} of {arguments.rounds}: {title}, {of_one['whole'][-1]:.1f} s")
            time.sleep(PAUSE)
    return {
        "text": {"name": arguments.text.name, "bytes": len(text), "sha256": hashlib.sha256(text).hexdigest()},
        "rounds": arguments.rounds,
        "iterations": arguments.iterations,
        "threads": arguments.threads,
        "programs": {
            title: {what: spread(values) for what, values in of_one.items()} for title, of_one in figures.items()
        },
        "times_as_fast": {what: ratios(figures[SCRIPT][what], figures[OURS][what]) for what in TIMES},
    }


def markdown(results: Results) -> str:
    """Return a row for each program, and one for how many times as fast ours is."""
    rows = [
        (title, *(cell(figures[what]) for what in TIMES), cell(figures["val_loss"], 4))
        for title, figures in results["programs"].items()
    ]
    faster = results["times_as_fast"]
    rows.append(("times as fast", *(cell(faster[what], 2) for what in TIMES), ""))
    text = results["text"]
    return (
        f"Text: `{text['name']}`, {text['bytes']:,} bytes, sha256 {text['sha256'][:16]}…; rounds: {results['rounds']}; "
        f"iterations: {results['iterations']:,}; "
        f"threads of the script: {results['threads'] or 'as many as torch takes'}.\n\n"
        f"{table(('', 'whole program, s', 'of the processor, s', 'training, s', 'val loss, estimated'), rows)}"
    )


if __name__ == "__main__":
    run(options(), measure, markdown)
