"""Loss over wall-clock time: presets trained one after the other on one text, each with several seeds.

`python -m benchmarks.loss --text input.txt presets/laptop.yaml` prints, for each seed, the loss of the whole val split
(every token scored once), the seconds of training, evaluations during it included, and when a loss was first reached.
"""

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from benchmarks.report import save, spread
from gptmodel.config import load_params
from gptmodel.data.corpus import prepare
from gptmodel.data.prepared import load_prepared
from gptmodel.evaluation.loss import split_loss
from gptmodel.training.loop import fit
from gptmodel.training.run import TrainingRun
from gptmodel.training.state import Evaluation


class Lines:
    """Prints a line per evaluation."""

    def on_iteration(self, iteration: int, loss: float) -> None:
        pass

    def on_evaluation(self, row: Evaluation) -> None:
        print(f"    {row.seconds:6.1f} s  iteration {row.iteration:5}  val {row.val_loss:.4f}", flush=True)

    def on_warning(self, line: str) -> None:
        print(line)


def trained(text: Path, preset: Path, settings: Sequence[str]) -> dict[str, Any]:
    """Train once and score both whole splits."""
    params = load_params(preset, settings)
    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder, "prepared")
        prepare(text, prepared, params.prepare)
        with TrainingRun.open(Path(folder, "runs"), load_prepared(prepared), params) as run:
            fit(run.state, run.conditions(Lines(), lambda: False))
            state, data = run.state, run.data
            whole = {
                split: split_loss(state.model, ids, F.cross_entropy, torch.device("cpu"))
                for split, ids in (("train", data.train.ids), ("val", data.val.ids))
            }
            return {
                "settings": list(settings),
                "seconds": state.seconds,
                "tokens": state.history[-1].tokens,
                "parameters": run.parameters,
                "history": [asdict(row) for row in state.history],
                **{split: {"loss": loss.mean, "tokens": loss.tokens} for split, loss in whole.items()},
            }


def first_below(history: Sequence[dict[str, Any]], loss: float) -> float | None:
    """Return the seconds after which an evaluation was at most `loss`."""
    return next((row["seconds"] for row in history if row["val_loss"] <= loss), None)


def plot(path: Path, runs: dict[str, list[dict[str, Any]]], levels: Sequence[float]) -> None:
    """Draw the val loss of each preset's first seed over seconds."""
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    for name, made in runs.items():
        rows = made[0]["history"]
        axes.plot([row["seconds"] for row in rows], [row["val_loss"] for row in rows], label=name)
    for level in levels:
        axes.axhline(level, color="grey", linewidth=0.8, linestyle="--")
        axes.annotate(f"{level:g}", (1.0, level), xycoords=("axes fraction", "data"), ha="right", va="bottom")
    axes.set(title="Val loss over the time of training", xlabel="seconds", ylabel="loss (nats per token)")
    axes.set_ylim(top=2.6)
    axes.legend()
    figure.savefig(path, dpi=130)


def main() -> None:
    """Train, print, and write what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("presets", type=Path, nargs="+")
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="*", default=[1337])
    parser.add_argument("-S", "--set", dest="settings", nargs="*", default=[], help="settings for all presets")
    parser.add_argument("--levels", type=float, nargs="*", default=[1.8228, 1.4697], help="losses to be reached")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    parser.add_argument("--plot", type=Path, help="draw the curves there")
    given = parser.parse_args()
    runs: dict[str, list[dict[str, Any]]] = {}
    for preset in given.presets:
        for seed in given.seeds:
            print(f"{preset.stem}, seed {seed}")
            made = trained(given.text, preset, [*given.settings, f"train.seed={seed}"])
            runs.setdefault(preset.stem, []).append(made)
            reached = {level: first_below(made["history"], level) for level in given.levels}
            val, train = made["val"]["loss"], made["train"]["loss"]
            print(f"  {made['seconds']:.1f} s, val {val:.4f}, train {train:.4f}; seconds to reach: {reached}")
        losses = spread([made["val"]["loss"] for made in runs[preset.stem]])
        print(f"{preset.stem}: val {losses['median']:.4f} ({losses['min']:.4f} to {losses['max']:.4f})", flush=True)
    save(given.json, {"loss": runs})
    if given.plot:
        plot(given.plot, runs, given.levels)


if __name__ == "__main__":
    main()
