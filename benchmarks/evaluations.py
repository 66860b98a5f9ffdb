"""What evaluations during a training cost: the default settings with and without them, in turn.

`python -m benchmarks.evaluations` trains on a generated text for so many iterations, as `params.yaml` says and with
the evaluations of the first and the last iteration alone, of one batch each.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.loss import Lines
from benchmarks.report import ROOT, Results, cell, options, progress, run, spread, table
from gptmodel.config import Params
from gptmodel.data.corpus import prepare
from gptmodel.data.prepared import PreparedData, load_prepared
from gptmodel.params_file import load_params
from gptmodel.planning.plan import evaluation_count

TEXT_BYTES = 1_000_000
NONE = ("train.eval_interval=1000000", "train.eval_iters=1")


def parser() -> argparse.ArgumentParser:
    """Return the options."""
    found = options(__doc__)
    found.add_argument("--rounds", type=int, default=3)
    found.add_argument("--iterations", type=int, default=1500)
    found.add_argument("-S", "--set", dest="settings", nargs="*", default=[], help="settings on both sides")
    return found


class Quiet(Lines):
    """Says nothing of an evaluation."""

    def on_evaluation(self, row: object) -> None: ...


def seconds_of(folder: Path, data: PreparedData, params: Params) -> float:
    """Train and return the seconds."""
    from gptmodel.training.loop import Hooks, fit
    from gptmodel.training.run import TrainingRun

    with TrainingRun.open(folder, data, params) as training:
        hooks = Hooks(observer=Quiet(), save=training.save, stopped=lambda: False)
        fit(training.state, training.splits, params, training.place, hooks)
        training.forget()
        return training.state.seconds


def measure(given: argparse.Namespace) -> Results:
    """Train in turn with and without evaluations."""
    asked = [*given.settings, f"train.max_iters={given.iterations}"]
    sides = [load_params(ROOT / "params.yaml", settings) for settings in ([*asked], [*asked, *NONE])]
    times: tuple[list[float], list[float]] = ([], [])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        letters = [chr(code) for code in range(33, 98)]
        text = "".join(np.random.default_rng(0).choice(letters, TEXT_BYTES))
        (folder / "input.txt").write_text(text, encoding="ascii")
        prepare(folder / "input.txt", folder / "prepared", sides[0].prepare)
        data = load_prepared(folder / "prepared")
        for number in range(given.rounds):
            for found, params in zip(times, sides, strict=True):
                found.append(seconds_of(folder / "runs", data, params))
            progress(f"round {number + 1} of {given.rounds}: {times[0][-1]:.1f} s with, {times[1][-1]:.1f} s without")
    train = sides[0].train
    return {
        "threads": train.threads,
        "rounds": given.rounds,
        "iterations": given.iterations,
        "settings": given.settings,
        "evaluations": evaluation_count(train),
        "batches": 2 * train.eval_iters,
        "with_seconds": spread(times[0]),
        "without_seconds": spread(times[1]),
        "share": spread([1.0 - without / whole for whole, without in zip(*times, strict=True)]),
    }


def markdown(results: Results) -> str:
    """Return a row."""
    row = [
        " ".join(results["settings"]) or "default",
        f"{results['evaluations']} of {results['batches']} batches",
        *(f"{cell(results[key])} s" for key in ("with_seconds", "without_seconds")),
        f"{cell({key: 100 * value for key, value in results['share'].items()}, 0)} %",
    ]
    head = ("settings", f"evaluations in {results['iterations']:,} iterations", "with", "without", "share of the time")
    return table(head, [row])


if __name__ == "__main__":
    run(parser(), measure, markdown)
