"""Loss over time.

Whole trainings of presets on one text, each preset with one seed or several. Seconds are those of training, the
evaluations during it included. Val and train are the losses of the whole splits, every token scored once, in nats.
"Seconds to" counts until an evaluation during the training was that low. Runs of several commands on the same text
stand in one table.
"""

import argparse
import hashlib
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.command import new_parser, progress, run
from benchmarks.contestants.trainings import Lines, trained
from benchmarks.figures.losses import reached
from benchmarks.figures.results import Results
from benchmarks.figures.tables import cell, spread, table
from gptmodel.data.corpus import prepare
from gptmodel.data.prepared import load_prepared
from gptmodel.params_file import load_params

LEVELS = (1.8228, 1.4697)


def options() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = new_parser("loss", __doc__)
    parser.add_argument("presets", type=Path, nargs="+", help="params files, such as presets/laptop.yaml")
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="*", default=[1337])
    parser.add_argument("-S", "--set", dest="settings", nargs="*", default=[], help="settings for all presets")
    parser.add_argument("--levels", type=float, nargs="*", default=LEVELS, help="losses to be reached")
    return parser


def whole_training(text: Path, preset: Path, settings: Sequence[str]) -> Results:
    """Train once and score both whole splits."""
    from torch.nn import functional as F

    from gptmodel.evaluation.loss import split_loss

    params = load_params(preset, settings)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(text, folder / "prepared", params.prepare)
        data = load_prepared(folder / "prepared")
        with trained(folder / "runs", data, params, Lines(progress)) as training:
            state = training.state
            losses = {
                split: split_loss(state.model, ids, F.cross_entropy, training.place)
                for split, ids in (("train", data.train.ids), ("val", data.val.ids))
            }
            return {
                "settings": list(settings),
                "threads": params.train.parts,
                "seconds": state.seconds,
                "tokens": state.history[-1].tokens,
                "parameters": training.parameters,
                "history": [asdict(row) for row in state.history],
                **{split: {"loss": loss.mean, "tokens": loss.tokens} for split, loss in losses.items()},
            }


def measure(arguments: argparse.Namespace) -> Results:
    """Train each preset with each seed."""
    text = arguments.text.read_bytes()
    runs: dict[str, list[Results]] = {}
    for preset in arguments.presets:
        label = " ".join([preset.stem, *arguments.settings])
        for seed in arguments.seeds:
            progress(f"{label}, seed {seed}")
            training = whole_training(arguments.text, preset, [*arguments.settings, f"train.seed={seed}"])
            losses = ", ".join(f"{split} {training[split]['loss']:.4f}" for split in ("val", "train"))
            progress(f"  {training['seconds']:.1f} s, {losses}")
            runs.setdefault(label, []).append(training)
    return {
        "text": {"name": arguments.text.name, "bytes": len(text), "sha256": hashlib.sha256(text).hexdigest()},
        "levels": list(arguments.levels),
        "runs": runs,
    }


def markdown(results: Results) -> str:
    """Return a row for each preset."""
    rows = [
        (
            label,
            f"{trainings[0]['parameters']:,}",
            f"{trainings[0]['tokens'] / 1e6:.1f}",
            f"{len(trainings)}",
            cell(spread([training["seconds"] for training in trainings]), 0),
            *(cell(spread([training[split]["loss"] for training in trainings]), 4) for split in ("val", "train")),
            *(reached(trainings, level) for level in results["levels"]),
        )
        for label, trainings in results["runs"].items()
    ]
    levels = [f"seconds to val {level:g}" for level in results["levels"]]
    head = ("", "parameters", "million tokens", "seeds", "seconds", "val", "train", *levels)
    text = results["text"]
    threads = sorted({training["threads"] for trainings in results["runs"].values() for training in trainings})
    return (
        f"Text: `{text['name']}`, {text['bytes']:,} bytes, sha256 {text['sha256'][:16]}…; threads: "
        f"{', '.join(map(str, threads))}.\n\n{table(head, rows)}"
    )


if __name__ == "__main__":
    run(options(), measure, markdown)
