"""Planning.

What `gptmodel plan` says beside what the run then took, planned before and after it. Where these two plans differ, the
machine had other work, and a ratio says little. In brackets is planned / taken. With `--cpu --threads 1`, plan and run
count seconds of the processor in place of the clock's; these hold on a busy machine too.
"""

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.command import new_parser, progress, run
from benchmarks.figures.results import Results
from benchmarks.figures.tables import conditions, table
from benchmarks.paths import ROOT
from benchmarks.probes.start import run_python
from benchmarks.texts import random_text

CLOSE = 0.2
TEXT_BYTES = 300_000
SETTINGS = {
    "the tutorial's sizes": ["train.max_iters=2000", "train.eval_interval=500", "train.eval_iters=50"],
    "the same, compiled, bfloat16": [
        *("train.compile=true", "train.dtype=bfloat16"),
        *("train.max_iters=2000", "train.eval_interval=500", "train.eval_iters=50"),
    ],
    "wider, longer, dropout": [
        *("model.n_embd=128", "model.block_size=128", "model.dropout=0.1"),
        *("train.max_iters=150", "train.eval_interval=50", "train.eval_iters=8"),
    ],
    "Muon, n-grams, rotary, pre-norm": [
        *("model.ngram_orders=[2,3,4]", "model.position=rotary", "model.norm=pre", "model.norm_type=rmsnorm"),
        *("model.qk_norm=true", "model.activation=relu2", "model.n_embd=96", "model.block_size=128"),
        *("train.optimizer=muon", "train.muon_lr=0.02", "train.muon_momentum=0.95", "train.grad_clip=1.0"),
        *("train.max_iters=150", "train.eval_interval=50", "train.eval_iters=8"),
    ],
}


def options() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = new_parser("plan", __doc__)
    parser.add_argument("--text", type=Path, help="a text to train on, of which the beginning is taken; else made up")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cpu", action="store_true", help="count processor time")
    parser.add_argument("--settings", choices=SETTINGS, nargs="*", default=list(SETTINGS))
    parser.add_argument("-S", "--set", dest="changes", nargs="*", default=[], help="changes of all settings")
    return parser


def command(folder: Path, module: str, arguments: Sequence[str], *, cpu: bool) -> tuple[float, str]:
    """Run a module in a folder; return the seconds it took, by the clock or of the processor, and what it printed."""

    def now() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime if cpu else time.perf_counter()

    words = ["benchmarks.probes.processor_time", module] if cpu else [module]
    started = now()
    printed = run_python(folder, "-m", *words, *arguments, PYTHONPATH=str(ROOT), DVC_STAGE="benchmark")
    return now() - started, printed


def flags(settings: Sequence[str]) -> list[str]:
    """Return settings as a stage's command line has them."""
    return [word for setting in settings for word in ("-S", setting)]


def compare(folder: Path, settings: Sequence[str], *, cpu: bool) -> list[Results]:
    """Return what each command of one setting took, and what was planned before and after it."""
    before = command(folder, "benchmarks.probes.planned", settings, cpu=cpu)[1]
    train, _ = command(folder, "stages.train", flags(settings), cpu=cpu)
    seconds = json.loads((folder / "metrics" / "train.json").read_bytes())["seconds"]
    evaluate, _ = command(folder, "stages.evaluate", flags(settings), cpu=cpu)
    after = command(folder, "benchmarks.probes.planned", settings, cpu=cpu)[1]
    plans = [json.loads(before), json.loads(after)]
    return [
        {"what": what, "seconds": taken, "planned": [sum(plan[part] for part in parts) for plan in plans]}
        for what, taken, parts in (
            ("training", seconds, ("training",)),
            ("the `train` command", train, ("start", "build", "training")),
            ("the `evaluate` command", evaluate, ("start", "evaluate")),
        )
    ]


def measure(arguments: argparse.Namespace) -> Results:
    """Compare each setting."""
    common = [f"{key}={arguments.threads}" for key in ("train.parts", "evaluate.threads", "sample.threads")]
    common += ["fetch.source=own", "runtime.mlflow=false"]
    rows = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "data").mkdir()
        (folder / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
        text = arguments.text.read_bytes()[:TEXT_BYTES] if arguments.text else random_text(TEXT_BYTES).encode()
        (folder / "data" / "input.txt").write_bytes(text)
        command(folder, "stages.prepare", flags(common), cpu=False)
        for title in arguments.settings:
            progress(f"planning and running: {title}")
            rows[title] = compare(folder, [*common, *SETTINGS[title], *arguments.changes], cpu=arguments.cpu)
    return {"threads": arguments.threads, "clock": "processor" if arguments.cpu else "wall", "settings": rows}


def markdown(results: Results) -> str:
    """Return a row for each command."""
    rows = [
        (
            title,
            row["what"],
            f"{row['seconds']:.1f}",
            *(f"{value:.1f} ({value / row['seconds']:.2f})" for value in row["planned"]),
        )
        for title, commands in results["settings"].items()
        for row in commands
    ]
    trainings = [commands[0] for commands in results["settings"].values()]
    ratios = [value / row["seconds"] for row in trainings for value in row["planned"]]
    close = sum(abs(ratio - 1) <= CLOSE for ratio in ratios)
    head = ("settings", "", "took, s", "planned before, s (ratio)", "planned after, s (ratio)")
    return (
        f"{conditions(results)} Of {len(ratios)} plans of a training, {close} are within {CLOSE:.0%}."
        f"\n\n{table(head, rows)}"
    )


if __name__ == "__main__":
    run(options(), measure, markdown)
