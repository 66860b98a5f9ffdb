"""Whole trainings on a text: seconds to a loss, and the loss at the end."""

import tempfile
import time
from pathlib import Path

import torch
from torch.nn import functional as F

from benchmarks.command import progress
from benchmarks.contestants.trainings import Lines, trained
from benchmarks.figures.results import Results
from benchmarks.gpus.setting import params_of
from gptmodel.compute.place import Place
from gptmodel.data.corpus import prepare
from gptmodel.data.prepared import load_prepared
from gptmodel.evaluation.loss import split_loss

NANOGPT_LOSS = 1.4697  # of Tiny Shakespeare's val split, in nats: nanoGPT's README, in three minutes of an A100
RECIPE = [
    "model.n_layer=6",
    "model.n_head=6",
    "model.n_embd=384",
    "model.block_size=256",
    "model.dropout=0.2",
    "train.batch_size=64",
    "train.max_iters=5000",
    "train.eval_interval=250",
    "train.eval_iters=200",
    "train.learning_rate=1e-3",
    "train.min_lr=1e-4",
    "train.warmup_iters=100",
    "train.weight_decay=0.1",
    "train.beta2=0.99",
    "train.grad_clip=1",
]
TRAININGS: dict[str, tuple[str, list[str]]] = {
    "params.yaml": ("params", []),
    "nanoGPT's recipe for an A100": ("nanogpt", RECIPE),
    "nanoGPT's recipe for an A100, compiled": ("nanogpt", [*RECIPE, "train.compile=true"]),
    "laptop.yaml": ("laptop", ["train.eval_interval=250", "train.eval_iters=55"]),
}
TINY = {"tiny": ("params", ["train.max_iters=4", "train.eval_interval=2", "train.eval_iters=1", "model.n_layer=1"])}


def training(name: str, preset: str, settings: list[str], text: Path, device: str) -> Results:
    """Train once and return what was found."""
    params = params_of(preset, settings, device)
    with tempfile.TemporaryDirectory() as folder:
        prepare(text, Path(folder) / "prepared", params.prepare)
        data = load_prepared(Path(folder) / "prepared")
        started = time.perf_counter()
        with trained(Path(folder) / "runs", data, params, Lines(progress, evaluations=False)) as run:
            rows = run.state.history
            reached = next((row.seconds for row in rows if row.val_loss <= NANOGPT_LOSS), None)
            whole = split_loss(run.state.model, data.val.ids, F.cross_entropy, Place.on(run.place.device)).mean
            seconds = time.perf_counter() - started
    best = min(rows, key=lambda row: row.val_loss)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    progress(f"{name}: {rows[-1].seconds:.1f} s, val {whole:.4f}, lowest {best.val_loss:.4f}, 1.4697 at {reached} s")
    return {
        "iterations": rows[-1].iteration,
        "seconds": rows[-1].seconds,
        "with_start": seconds,
        "seconds_to_nanogpt": reached,
        "lowest": {"val_loss": best.val_loss, "iteration": best.iteration, "seconds": best.seconds},
        "val_loss": whole,
        "platform": run.place.fingerprint,
    }
