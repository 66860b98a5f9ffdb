"""Evaluations during a training.

The same training with and without evaluations, on a made-up text. The default settings evaluate every 100 iterations,
200 batches of each split: four times as many tokens as the iterations train on. They are scored beside the iterations
where a core is free for it, and a thread that would have to wait for them takes a share. The side without evaluations
scores one batch of each split at its start and at its end.
"""

import argparse
import tempfile
from pathlib import Path

from benchmarks.command import new_parser, progress, run
from benchmarks.contestants.trainings import Lines, trained
from benchmarks.figures.results import Results
from benchmarks.figures.tables import cell, spread, table
from benchmarks.paths import ROOT
from benchmarks.texts import random_text
from gptmodel.data.corpus import prepare
from gptmodel.data.prepared import load_prepared
from gptmodel.params_file import load_params
from gptmodel.planning.plan import evaluation_count

TEXT_BYTES = 1_000_000
WITHOUT = ("train.eval_interval=1000000", "train.eval_iters=1")


def options() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = new_parser("evaluations", __doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--iterations", type=int, default=1500)
    parser.add_argument("-S", "--set", dest="settings", nargs="*", default=[], help="settings on both sides")
    return parser


def measure(arguments: argparse.Namespace) -> Results:
    """Train in turn with and without evaluations."""
    settings = [*arguments.settings, f"train.max_iters={arguments.iterations}"]
    sides = {
        "with": load_params(ROOT / "params.yaml", settings),
        "without": load_params(ROOT / "params.yaml", [*settings, *WITHOUT]),
    }
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "input.txt").write_text(random_text(TEXT_BYTES), encoding="ascii")
        prepare(folder / "input.txt", folder / "prepared", sides["with"].prepare)
        data = load_prepared(folder / "prepared")
        for number in range(arguments.rounds):
            for side, params in sides.items():
                with trained(folder / "runs", data, params, Lines(progress, evaluations=False)) as training:
                    seconds[side].append(training.state.seconds)
            times = ", ".join(f"{values[-1]:.1f} s {side}" for side, values in seconds.items())
            progress(f"round {number + 1} of {arguments.rounds}: {times}")
    train = sides["with"].train
    pairs = zip(seconds["with"], seconds["without"], strict=True)
    return {
        "threads": train.parts,
        "rounds": arguments.rounds,
        "iterations": arguments.iterations,
        "settings": arguments.settings,
        "evaluations": evaluation_count(train),
        "batches": 2 * train.eval_iters,
        **{f"{side}_seconds": spread(values) for side, values in seconds.items()},
        "share": spread([1.0 - without / whole for whole, without in pairs]),
    }


def markdown(results: Results) -> str:
    """Return a row."""
    row = [
        " ".join(results["settings"]) or "default",
        f"{results['evaluations']} of {results['batches']} batches",
        *(f"{cell(results[key])} s" for key in ("with_seconds", "without_seconds")),
        f"{cell(results['share'], 0, 100)} %",
    ]
    head = ("settings", f"evaluations in {results['iterations']:,} iterations", "with", "without", "share of the time")
    return table(head, [row])


if __name__ == "__main__":
    run(options(), measure, markdown)
