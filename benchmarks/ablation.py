"""What each switch gives.

Every switch of the model, and every other optimizer and schedule, is changed by itself from params.yaml, and trained
with several seeds. The difference is that of the loss of the val split, every token scored once, from params.yaml with
the same seeds: below zero the change is better. Nats are those of a byte of text. The noises are halves of 95 %
intervals: that of the text, and that of the seeds. A change is better or worse where the difference is beyond both,
whose squares add up. Until 2026-11-28 the noise of the text was estimated from single passages of 1 kB, which makes it
about half as large as it is (docs/COMPARING.md). Trainings take turns: all changes with one seed, then all with the
next. "Time" is the median of the seconds of the processor that a training takes, as a multiple of that of params.yaml.
"""

import argparse
import hashlib
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import numpy as np

from benchmarks.command import new_parser, progress, run
from benchmarks.contestants.trainings import Lines, trained
from benchmarks.figures.results import Results
from benchmarks.figures.tables import table
from gptmodel.config import Switches, TrainParams
from gptmodel.data.corpus import prepare
from gptmodel.data.prepared import PreparedData, load_prepared
from gptmodel.evaluation.comparison import Difference, Group, Noise, compare, word_for
from gptmodel.evaluation.spans import val_losses
from gptmodel.params_file import load_params

BASE = "params.yaml"
NEEDED = {
    "train.optimizer=sgd": ["train.learning_rate=0.1"],
    "train.optimizer=muon": ["train.muon_lr=0.02", "train.muon_momentum=0.95"],
}
"""Without these settings a change would not train, or not as it is used."""
NUMBERS = [
    "model.dropout=0.1",
    "model.attention_dropout=0.1",
    "model.logit_softcap=15",
    "model.ngram_orders=[2, 3]",
    "train.grad_clip=1",
]
"""What is off by default and has no other words to choose from, at its usual size."""


def changes(values: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """Return the settings of each change from a params file's values."""
    words = [
        f"{section}.{name}={str(word).lower() if isinstance(word, bool) else word}"
        for section, fields in (("model", Switches.model_fields), ("train", TrainParams.model_fields))
        for name, field in fields.items()
        if section == "model" or name in ("optimizer", "lr_schedule")
        for word in _choices(field.annotation)
        if word != values[section][name]
    ]
    return [[word, *NEEDED.get(word, [])] for word in (*words, *NUMBERS)]


def _choices(kind: Any) -> tuple[Any, ...]:
    if kind is bool:
        return (True, False)
    return get_args(kind) if get_origin(kind) is Literal else ()


def options() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = new_parser("ablation", __doc__)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--iterations", type=int, default=1500)
    parser.add_argument("--seeds", type=int, nargs="*", default=[1337, 1, 2])
    parser.add_argument("--changes", nargs="*", help="only these, such as model.position=rotary")
    parser.add_argument("-S", "--set", dest="settings", nargs="*", default=[], help="settings for all trainings")
    return parser


def measure(arguments: argparse.Namespace) -> Results:
    """Train params.yaml and each change with each seed."""
    shared = [f"train.max_iters={arguments.iterations}", *arguments.settings]
    params = load_params(arguments.params, shared)
    every = changes(params.model_dump())
    chosen = [change for change in every if arguments.changes is None or change[0] in arguments.changes]
    losses: dict[str, list[Any]] = {}
    seconds: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as name:
        prepare(arguments.text, Path(name) / "prepared", params.prepare)
        data = load_prepared(Path(name) / "prepared")
        for seed in arguments.seeds:
            for change in [[], *chosen]:
                label = change[0] if change else BASE
                settings = [*shared, *change, f"train.seed={seed}"]
                spans, took = _training(Path(name) / "runs", data, arguments.params, settings)
                losses.setdefault(label, []).append(spans)
                seconds.setdefault(label, []).append(took)
                progress(f"{label}, seed {seed}: {spans.sum() / len(data.val.ids):.4f} nats per token, {took:.1f} s")
    groups = {label: Group((label,) * len(runs), np.array(runs, float)) for label, runs in losses.items()}
    text = arguments.text.read_bytes()
    return {
        "text": {"name": arguments.text.name, "bytes": len(text), "sha256": hashlib.sha256(text).hexdigest()},
        "iterations": arguments.iterations,
        "seeds": list(arguments.seeds),
        "base": {"nats_per_byte": float(groups[BASE].means().mean()), "seconds": seconds[BASE]},
        "changes": {
            change[0]: {
                "with": change[1:],
                "seconds": seconds[change[0]],
                **_figures(compare(groups[BASE], groups[change[0]])),
            }
            for change in chosen
        },
    }


def _training(runs: Path, data: PreparedData, preset: Path, settings: Sequence[str]) -> tuple[Any, float]:
    """Train once; the nats of each span of val (spans,), and the seconds of the processor that the training took."""
    started = time.process_time()
    with trained(runs, data, load_params(preset, settings), Lines(progress, evaluations=False)) as training:
        seconds = time.process_time() - started
        return val_losses(training.state.model, data.val.ids, training.place), seconds


def _figures(difference: Difference) -> Results:
    return {
        "difference": difference.mean,
        "text_margin": _margin(difference.text),
        "seed_margin": _margin(difference.seed),
        "passages": difference.passages,
    }


def _margin(noise: Noise | None) -> float | None:
    return None if noise is None else noise.margin


def markdown(results: Results) -> str:
    """Return a row for each change, the best first."""
    base = statistics.median(results["base"]["seconds"])
    rows = [
        (
            f"`{' '.join([change, *row['with']])}`",
            f"{row['difference']:+.4f}",
            _plus_or_minus(row["text_margin"]),
            _plus_or_minus(row["seed_margin"]),
            word_for(row["difference"], row["text_margin"], row["seed_margin"]),
            f"{statistics.median(row['seconds']) / base:.2f}",
        )
        for change, row in sorted(results["changes"].items(), key=lambda item: item[1]["difference"])
    ]
    head = ("change", "nats", "noise of the text", "noise of the seeds", "which is", "time")
    text = results["text"]
    return (
        f"Text: `{text['name']}`, {text['bytes']:,} bytes, sha256 {text['sha256'][:16]}…; {results['iterations']:,} "
        f"iterations; seeds {', '.join(map(str, results['seeds']))}. params.yaml: "
        f"{results['base']['nats_per_byte']:.4f} nats per byte.\n\n{table(head, rows)}"
    )


def _plus_or_minus(margin: float | None) -> str:
    return "" if margin is None else f"± {margin:.4f}"


if __name__ == "__main__":
    run(options(), measure, markdown)
