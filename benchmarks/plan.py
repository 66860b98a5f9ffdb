"""`gptmodel plan` against the run it plans: the ratio of both times, of short trainings and of the evaluate stage.

`python -m benchmarks.plan` plans each setting before and after it is run: where these two differ, the machine had other
work, and a ratio says little. `--cpu --threads 1` counts processor time in place of the clock's, in the plan and in the
run, and holds on a busy machine too. The text is made up unless `--text` names one, of which the beginning is taken.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.report import ROOT, Results, options, progress, run, table

CLOSE = 0.2
TEXT_BYTES = 300_000
CPU_TIME = """
import os, time
time.perf_counter = time.process_time
os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])  # evaluations beside the iterations would count too
"""
STAGE = "import sys; from stages.command import main; from stages.{} import app; main(app)\n"
PLAN = """
import json, sys, time
from dataclasses import asdict
from pathlib import Path
import psutil
from gptmodel.params_file import load_params
from gptmodel.planning.measure import measure
from gptmodel.planning.plan import make_plan
from gptmodel.planning.text import find_text
from stages.plan import MEASURE_SECONDS
params = load_params(Path("params.yaml"), sys.argv[1:])
text = find_text(params.fetch, params.prepare, Path("data/prepared"), Path("data/input.txt"))
on_cpu = time.perf_counter is time.process_time
start = time.process_time() if on_cpu else time.time() - psutil.Process().create_time()
seconds = make_plan(params, text, measure(params, text, MEASURE_SECONDS), start).seconds
print(json.dumps({**asdict(seconds), "training": seconds.training}))
"""
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


def parser() -> argparse.ArgumentParser:
    """Return the options."""
    found = options(__doc__)
    found.add_argument("--text", type=Path, help="a text file to train on")
    found.add_argument("--threads", type=int, default=2)
    found.add_argument("--cpu", action="store_true", help="count processor time")
    found.add_argument("--settings", choices=SETTINGS, nargs="*", default=list(SETTINGS))
    return found


def command(folder: Path, code: str, arguments: list[str], *, cpu: bool) -> tuple[float, str]:
    """Run Python in `folder`; return the seconds it took, by the clock or of processor time, and what it printed."""

    def now() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime if cpu else time.perf_counter()

    started = now()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "DVC_STAGE": "benchmark"}
    words = [sys.executable, "-c", CPU_TIME + code if cpu else code, *arguments]
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return now() - started, done.stdout


def compare(folder: Path, settings: list[str], *, cpu: bool) -> list[Results]:
    """Return what each command of one setting took, and what was planned before and after it."""
    flags = [word for setting in settings for word in ("-S", setting)]
    plans: list[Results] = [json.loads(command(folder, PLAN, settings, cpu=cpu)[1])]
    train, _ = command(folder, STAGE.format("train"), flags, cpu=cpu)
    seconds = json.loads((folder / "metrics" / "train.json").read_bytes())["seconds"]
    evaluate, _ = command(folder, STAGE.format("evaluate"), flags, cpu=cpu)
    plans.append(json.loads(command(folder, PLAN, settings, cpu=cpu)[1]))
    return [
        {"what": what, "seconds": real, "planned": [sum(plan[part] for part in parts) for plan in plans]}
        for what, real, parts in (
            ("training", seconds, ("training",)),
            ("the `train` command", train, ("start", "build", "training")),
            ("the `evaluate` command", evaluate, ("start", "evaluate")),
        )
    ]


def measure(given: argparse.Namespace) -> Results:
    """Compare each setting."""
    common = [f"{section}.threads={given.threads}" for section in ("train", "evaluate", "sample")]
    common += ["fetch.source=own", "runtime.mlflow=false"]
    found = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "data").mkdir()
        (folder / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
        letters = [chr(code) for code in range(33, 98)]
        made_up = "".join(np.random.default_rng(0).choice(letters, TEXT_BYTES)).encode()
        (folder / "data" / "input.txt").write_bytes(given.text.read_bytes()[:TEXT_BYTES] if given.text else made_up)
        command(folder, STAGE.format("prepare"), [word for flag in common for word in ("-S", flag)], cpu=False)
        for setting in given.settings:
            progress(f"planning and running: {setting}")
            found[setting] = compare(folder, [*common, *SETTINGS[setting]], cpu=given.cpu)
    return {"threads": given.threads, "clock": "processor" if given.cpu else "wall", "settings": found}


def markdown(results: Results) -> str:
    """Return a row for each command."""
    rows = [
        (
            setting,
            row["what"],
            f"{row['seconds']:.1f}",
            *(f"{value:.1f} ({value / row['seconds']:.2f})" for value in row["planned"]),
        )
        for setting, found in results["settings"].items()
        for row in found
    ]
    ratios = [
        value / row["seconds"]
        for found in results["settings"].values()
        for row in found[:1]
        for value in row["planned"]
    ]
    close = sum(abs(ratio - 1) <= CLOSE for ratio in ratios)
    head = ("settings", "", "took, s", "planned before, s (ratio)", "planned after, s (ratio)")
    clock = " Seconds are those of the processor." if results["clock"] == "processor" else ""
    return (
        f"Threads: {results['threads']}.{clock} Of {len(ratios)} plans of a training, {close} are within {CLOSE:.0%}."
        f"\n\n{table(head, rows)}"
    )


if __name__ == "__main__":
    run(parser(), measure, markdown)
