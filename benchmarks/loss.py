"""Loss over wall-clock time: presets trained one after the other on one text, each with several seeds.

`python -m benchmarks.loss --text input.txt presets/laptop.yaml` prints, for each preset, the loss of the whole val
split (every token scored once), the seconds of training, evaluations during it included, and when a loss was first
reached. Runs of several commands, each with a `--json` of its own, are put together in docs/BENCHMARKS.md.
"""

import argparse
import hashlib
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.report import Results, cell, options, progress, run, spread, table
from gptmodel.data.corpus import prepare
from gptmodel.data.prepared import load_prepared
from gptmodel.evaluation.history import Evaluation
from gptmodel.params_file import load_params

LEVELS = (1.8228, 1.4697)


class Lines:
    """Says a line per evaluation."""

    def on_iteration(self, iteration: int, loss: float) -> None:
        pass

    def on_evaluation(self, row: Evaluation) -> None:
        progress(f"    {row.seconds:6.1f} s  iteration {row.iteration:5}  val {row.val_loss:.4f}")

    def on_warning(self, line: str) -> None:
        progress(line)


def parser() -> argparse.ArgumentParser:
    """Return the options."""
    found = options(__doc__)
    found.add_argument("presets", type=Path, nargs="+")
    found.add_argument("--text", type=Path, required=True)
    found.add_argument("--seeds", type=int, nargs="*", default=[1337])
    found.add_argument("-S", "--set", dest="settings", nargs="*", default=[], help="settings for all presets")
    found.add_argument("--levels", type=float, nargs="*", default=LEVELS, help="losses to be reached")
    return found


def trained(text: Path, preset: Path, settings: Sequence[str]) -> Results:
    """Train once and score both whole splits."""
    from torch.nn import functional as F

    from gptmodel.evaluation.loss import split_loss
    from gptmodel.training.loop import Hooks, fit
    from gptmodel.training.run import TrainingRun

    params = load_params(preset, settings)
    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder, "prepared")
        prepare(text, prepared, params.prepare)
        with TrainingRun.open(Path(folder, "runs"), load_prepared(prepared), params) as training:
            hooks = Hooks(observer=Lines(), save=training.save, stopped=lambda: False)
            fit(training.state, training.splits, params, training.place, hooks)
            state, data = training.state, training.data
            whole = {
                split: split_loss(state.model, ids, F.cross_entropy, training.place)
                for split, ids in (("train", data.train.ids), ("val", data.val.ids))
            }
            return {
                "settings": list(settings),
                "threads": params.train.threads,
                "seconds": state.seconds,
                "tokens": state.history[-1].tokens,
                "parameters": training.parameters,
                "history": [asdict(row) for row in state.history],
                **{split: {"loss": loss.mean, "tokens": loss.tokens} for split, loss in whole.items()},
            }


def first_below(history: Sequence[Results], loss: float) -> float | None:
    """Return the seconds after which an evaluation was at most `loss`."""
    return next((row["seconds"] for row in history if row["val_loss"] <= loss), None)


def measure(given: argparse.Namespace) -> Results:
    """Train each preset with each seed."""
    text = given.text.read_bytes()
    runs: dict[str, list[Results]] = {}
    for preset in given.presets:
        label = " ".join([preset.stem, *given.settings])
        for seed in given.seeds:
            progress(f"{label}, seed {seed}")
            made = trained(given.text, preset, [*given.settings, f"train.seed={seed}"])
            progress(f"  {made['seconds']:.1f} s, val {made['val']['loss']:.4f}, train {made['train']['loss']:.4f}")
            runs.setdefault(label, []).append(made)
    return {
        "text": {"name": given.text.name, "bytes": len(text), "sha256": hashlib.sha256(text).hexdigest()},
        "levels": list(given.levels),
        "runs": runs,
    }


def together(results: Iterable[Results]) -> Results:
    """Put the runs of several commands on one text together."""
    whole: Results = {}
    for found in results:
        whole = whole or {**found, "levels": [], "runs": {}}
        if found["text"]["sha256"] != whole["text"]["sha256"]:
            raise SystemExit(f"losses on {found['text']['name']} and on {whole['text']['name']} cannot be compared")
        whole["levels"] = sorted({*whole["levels"], *found["levels"]}, reverse=True)
        whole["runs"] |= {label: whole["runs"].get(label, []) + made for label, made in found["runs"].items()}
    return whole


def reached(made: Sequence[Results], level: float) -> str:
    """Say when runs first reached a loss, or how many of them did."""
    seconds = [found for run_ in made if (found := first_below(run_["history"], level)) is not None]
    if len(seconds) < len(made):
        return f"{len(seconds)} of {len(made)}" if seconds else "no"
    return cell(spread(seconds), 0)


def markdown(results: Results) -> str:
    """Return a row for each preset."""
    rows = [
        (
            label,
            f"{made[0]['parameters']:,}",
            f"{made[0]['tokens'] / 1e6:.1f}",
            f"{len(made)}",
            cell(spread([run_["seconds"] for run_ in made]), 0),
            *(cell(spread([run_[split]["loss"] for run_ in made]), 4) for split in ("val", "train")),
            *(reached(made, level) for level in results["levels"]),
        )
        for label, made in results["runs"].items()
    ]
    levels = [f"seconds to val {level:g}" for level in results["levels"]]
    head = ("", "parameters", "million tokens", "seeds", "seconds", "val", "train", *levels)
    text = results["text"]
    threads = sorted({run_["threads"] for made in results["runs"].values() for run_ in made})
    return (
        f"Text: `{text['name']}`, {text['bytes']:,} bytes, sha256 {text['sha256'][:16]}…; threads: "
        f"{', '.join(map(str, threads))}.\n\n{table(head, rows)}"
    )


if __name__ == "__main__":
    run(parser(), measure, markdown)
