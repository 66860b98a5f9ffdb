"""Weights in shards: the losses of one process within rounding, and whole states in what is written."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from model_helpers import ROOT, small_params
from shard_losses import PROCESSES, SETTINGS, STOPPED_AT, place, settings
from torch.nn import functional as F
from training_helpers import CPU, TRAIN_DATA, VAL_DATA, Watcher, new_state, plain_run, varied

from gptmodel.checkpoint.model_file import load_model
from gptmodel.compute.place import check_shards
from gptmodel.compute.ranks import ALONE_WORLD, World
from gptmodel.errors import ConfigError
from gptmodel.evaluation.loss import estimate_loss
from gptmodel.training.loop import fit
from gptmodel.training.memory import BASE_BYTES, estimate_bytes, estimate_gpu_bytes

AGENT = "import sys; from gptmodel.compute.agent import run_agent; sys.exit(run_agent(2, 0, 60, sys.argv[1:]))"
ROUNDING = {"bfloat16": 0.03}


class Told(NamedTuple):
    """What two processes left of their trainings."""

    folder: Path
    told: dict[str, Any]


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> Told:
    folder = tmp_path_factory.mktemp("shards")
    words = [sys.executable, str(ROOT / "tests" / "shard_losses.py"), str(folder)]
    subprocess.run([sys.executable, "-c", AGENT, *words], cwd=ROOT, check=True, timeout=240)
    return Told(folder, json.loads((folder / "told.json").read_text(encoding="utf-8")))


@pytest.mark.thorough
@pytest.mark.parametrize("name", SETTINGS)
def test_the_losses_are_those_of_one_process_within_rounding(name: str, sharded: Told) -> None:
    watcher, where = Watcher(), replace(place(name, ALONE_WORLD), sharded=False)
    state, run = new_state(**settings(name)), varied(plain_run(**settings(name)), observer=watcher)
    assert fit(state, *run._replace(place=where))
    within = ROUNDING.get(name, 1e-4)
    assert sharded.told["losses"][name] == pytest.approx([value for _, value in watcher.losses], rel=within)
    rows = [[row.train_loss, row.val_loss] for row in watcher.rows]
    assert sharded.told["rows"][name] == [pytest.approx(row, rel=within) for row in rows]


@pytest.mark.thorough
def test_a_training_that_was_stopped_goes_on_to_the_same_bytes(sharded: Told) -> None:
    assert sharded.told["first seen"] == STOPPED_AT + 1
    uninterrupted, resumed = sharded.told["digests"]
    assert uninterrupted == resumed


@pytest.mark.thorough
def test_the_file_is_whole_and_scores_as_the_training_did(sharded: Told) -> None:
    model = load_model(sharded.folder / "model.pth")
    params = small_params(**settings("adamw")).train
    blocks = params.eval_iters * params.batch_size
    losses = estimate_loss(model, TRAIN_DATA, VAL_DATA, F.cross_entropy, CPU, max_blocks=blocks)
    assert [losses["train"], losses["val"]] == pytest.approx(sharded.told["rows"]["adamw"][-1], rel=1e-6)
    weights = sum(weight.numel() for weight in model.transformer.parameters())
    assert weights // PROCESSES <= sharded.told["own"] < 0.6 * weights


@pytest.mark.thorough
def test_a_loss_that_is_not_finite_updates_nothing(sharded: Told) -> None:
    assert "at a learning rate of 1e+30; nothing was updated" in sharded.told["failure"]


@pytest.mark.parametrize(
    ("sections", "size", "words"),
    [
        ({}, 1, "is for several processes"),
        ({"train": {"parts": 2}}, 3, "needs a part for each of the 3 processes; set train.parts to 3"),
        ({"model": {"ngram_orders": [2]}}, 2, "has no tables of n-grams"),
        ({"model": {"kneser_ney": 2, "kneser_ney_share": 0.3}}, 2, "has no counts of n-grams"),
        ({"train": {"optimizer": "muon", "muon_lr": 0.02, "muon_momentum": 0.95}}, 2, "has no muon"),
        ({"train": {"keep": "best"}}, 2, "keeps the last weights"),
        ({"train": {"compile": True}}, 2, "is not compiled"),
        ({"train": {"dtype": "float16", "device": "cuda"}}, 2, "has no float16"),
    ],
)
def test_what_cannot_be_in_shards_is_refused(sections: dict[str, Any], size: int, words: str) -> None:
    sections["train"] = {"shard": True, "parts": 2, **sections.get("train", {})}
    params = small_params(**sections)
    dtype = torch.float16 if params.train.dtype == "float16" else torch.float32
    with pytest.raises(ConfigError, match=f"^train.shard = true: {words}"):
        check_shards(params, dtype, World(0, size, size))


def test_more_processes_need_less_memory_each() -> None:
    large = {"n_embd": 1024, "n_layer": 24, "n_head": 16, "block_size": 64}
    on_cpu, on_gpu = [], []
    for parts, shard in ((2, False), (2, True), (8, True)):
        params = small_params(model=large, train={"batch_size": 8, "parts": parts, "shard": shard})
        on_cpu.append(estimate_bytes(params.model, params.train, 65, 1000, threads=1, beside=False) - BASE_BYTES)
        on_gpu.append(estimate_gpu_bytes(params.model, params.train, 65, 1000, torch.float32))
    assert on_gpu[1] < 0.65 * on_gpu[0]
    assert on_gpu[2] < 0.4 * on_gpu[1]
    assert on_cpu[2] < on_cpu[1]  # main memory has the whole state beside it
