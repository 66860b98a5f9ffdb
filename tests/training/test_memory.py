"""The memory a training needs is told before it starts."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from model_helpers import ROOT
from tokenizer_helpers import prepare_params

from gptmodel.compute.limits import MemoryLimit, memory_limit
from gptmodel.compute.place import Place
from gptmodel.compute.ranks import World
from gptmodel.config import Params
from gptmodel.data.corpus import prepare
from gptmodel.errors import TrainingError
from gptmodel.training import memory
from gptmodel.training.memory import BASE_BYTES, check_memory, estimate_bytes, place_in_memory
from gptmodel.units import size


def estimate(params: Params, vocab_size: int = 65, **changes: int) -> int:
    model = params.model.model_copy(update={k: v for k, v in changes.items() if k in type(params.model).model_fields})
    train = params.train.model_copy(update={k: v for k, v in changes.items() if k in type(params.train).model_fields})
    return estimate_bytes(model, train, vocab_size, 1_000_000, threads=1, beside=False)


def test_the_default_needs_little(params: Params) -> None:
    assert BASE_BYTES < estimate(params) < BASE_BYTES + (60 << 20)


@pytest.mark.parametrize(
    "changes",
    [
        {"n_embd": 256},
        {"n_layer": 40},
        {"block_size": 512},
        {"batch_size": 512},
        {"kneser_ney": 9},
        {"teacher_order": 9},
    ],
)
def test_it_grows_with_each_size(params: Params, changes: dict[str, int]) -> None:
    assert estimate(params, **changes) > estimate(params) + (10 << 20)


def test_a_decoder_without_a_bias_saves_its_numbers(params: Params) -> None:
    without, bias = (estimate(params, vocab_size=1_000_000, decoder_bias=present) for present in (False, True))
    # a weight, its gradient and two averages; a snapshot goes into what the logits left
    assert bias - without == pytest.approx(4 * 4 * 1_000_000, abs=8)


def test_a_tied_matrix_counts_once(params: Params) -> None:
    """In weights, gradients, averages, and, where its logits leave no room for one, in a snapshot."""
    tied, own = (estimate(params, vocab_size=1_000_000, n_embd=1024, tie_embeddings=tied) for tied in (True, False))
    matrix = 1_000_000 * 1024
    assert own - tied == pytest.approx(4 * 7 * matrix, abs=8)


def test_weights_gradients_and_two_averages_count_and_all_but_the_gradients_again_in_a_snapshot(params: Params) -> None:
    wide = estimate(params, n_embd=4096, n_layer=2)
    weights = 4 * 2 * 12 * 4096**2
    assert 7 * weights < wide < 7 * weights * 1.2


def test_what_cannot_fit_is_refused_before_it_is_allocated(params: Params) -> None:
    check_memory(1 << 20, memory_limit())
    with pytest.raises(TrainingError, match=r"about \d+\.\d GB of memory, and this machine has .* lower train"):
        check_memory(estimate(params, n_embd=65536, n_layer=96), memory_limit())


def test_an_evaluation_beside_the_iterations_counts_with_its_weights_where_there_is_memory_for_both(
    params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = params.model.model_copy(update={"n_embd": 4096, "n_layer": 2})
    (alone, beside), (wide_alone, wide_beside) = (
        [estimate_bytes(model, params.train, 65, 1000, threads=1, beside=beside) for beside in (False, True)]
        for model in (params.model, wide)
    )
    assert wide_beside - wide_alone > 4 * 2 * 12 * 4096**2
    in_turn = Place.on("cpu")
    both = replace(in_turn, beside=True)
    for main_memory, expected in ((beside, (both, beside)), (beside - 1, (in_turn, alone)), (alone, (in_turn, alone))):
        monkeypatch.setattr(memory, "memory_limit", lambda size=main_memory: MemoryLimit(size, "a test has"))
        assert place_in_memory(params, 65, 1000, both) == expected
        assert place_in_memory(params, 65, 1000, in_turn) == (in_turn, alone)
    monkeypatch.setattr(memory, "memory_limit", lambda: MemoryLimit(alone - 1, "a test has"))
    with pytest.raises(TrainingError, match="of memory, and a test has"):
        place_in_memory(params, 65, 1000, both)


def test_the_processes_of_a_machine_count_together(params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = Place.on("cpu")
    shared, needed = replace(alone, world=World(0, 4, 2)), place_in_memory(params, 65, 1000, alone)[1]
    monkeypatch.setattr(memory, "memory_limit", lambda: MemoryLimit(2 * needed, "a test has"))
    assert place_in_memory(params, 65, 1000, shared) == (shared, 2 * needed)
    monkeypatch.setattr(memory, "memory_limit", lambda: MemoryLimit(2 * needed - 1, "a test has"))
    with pytest.raises(TrainingError, match="of memory, and a test has"):
        place_in_memory(params, 65, 1000, shared)


def test_sizes_are_shown_in_words() -> None:
    assert size(386_000_000) == "386 MB"
    assert size(1_250_000_000) == "1.2 GB"


COUNTING = """
import sys
from pathlib import Path
import numpy as np
import torch
from gptmodel.kneser_ney import KneserNey

def peak() -> int:
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024

ids = np.random.default_rng(0).integers(65, size=int(sys.argv[1]), dtype=np.uint8)
before = peak()
KneserNey.count(int(sys.argv[2]), 65, 0.3, torch.from_numpy(ids.astype(np.int64)))
print(peak() - before)
"""


@pytest.mark.thorough
@pytest.mark.skipif(sys.platform != "linux", reason="the peak is told in other units")
@pytest.mark.parametrize("order", [1, 2])
def test_counting_needs_no_more_than_is_reckoned_where_little_is_kept_of_it(params: Params, order: int) -> None:
    tokens, model = 4_000_000, params.model.model_copy(update={"kneser_ney": order, "kneser_ney_share": 0.3})
    none, all_of_them = (
        estimate_bytes(model, params.train, 65, count, threads=1, beside=False) for count in (0, tokens)
    )
    command = [sys.executable, "-c", COUNTING, str(tokens), str(order)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert all_of_them - none == pytest.approx(int(result.stdout), rel=0.2)


PEAK = """
import sys
import time
from pathlib import Path
from gptmodel.params_file import load_params
from gptmodel.data.prepared import load_prepared
from gptmodel.training.loop import Hooks, fit
from gptmodel.training.run import TrainingRun
from tests.training_helpers import Watcher

data, target = load_prepared(Path(sys.argv[1], "prepared")), Path(sys.argv[1])
params = load_params(Path("params.yaml"), sys.argv[2:])
with TrainingRun.open(target / "runs", data, params) as run:
    assert run.place.beside
    time.monotonic = lambda: run.state.iteration
    hooks = Hooks(observer=Watcher(), save=run.save, stopped=lambda: False)
    fit(run.state, run.splits, params, run.place, hooks)
    run.finish(target / "model.pth", target / "train.json", target / "history.csv")
# not ru_maxrss: Linux counts the process that started this one into that
print(run.memory, int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024)
"""
SHORT = ["parts=1", "max_iters=4", "eval_interval=4", "eval_iters=20"]
MUON = ["train.optimizer=muon", "train.muon_lr=0.02", "train.muon_momentum=0.95"]
NGRAMS = ["model.ngram_orders=[2,3,4]", "model.n_embd=128"]
TAUGHT = ["train.teacher_order=6", "train.teacher_share=0.3"]
DEEP = ["model.n_embd=384", "model.n_layer=12"]
WIDE = ["model.n_embd=512", "model.n_layer=6"]
HALF = ["model.n_embd=512", "model.n_layer=3"]
BATCH = ["train.batch_size=256", "model.n_embd=128"]
LONG = ["model.block_size=256", "model.n_embd=128"]


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is told in other units, by another allocator")
@pytest.mark.parametrize(
    "settings",
    [
        pytest.param([], marks=pytest.mark.thorough, id="as it is"),
        *(
            pytest.param(settings, marks=pytest.mark.slow, id=" ".join(settings))
            for settings in (
                *(BATCH, WIDE, [*WIDE, *MUON], [*HALF, *MUON], [*DEEP, *MUON], NGRAMS, [*NGRAMS, *MUON, *TAUGHT]),
                *(LONG, [*LONG, "model.dropout=0.1"], [*LONG, "train.dtype=bfloat16"]),
            )
        ),
        pytest.param([*NGRAMS, "train.optimizer=sgd"], marks=pytest.mark.slow, id="n-grams with sgd"),
    ],
)
def test_the_estimate_is_within_15_percent_of_the_real_peak(tmp_path: Path, settings: list[str]) -> None:
    check_peak(tmp_path, settings, 65)


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is told in other units, by another allocator")
@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [[], ["train.batch_size=64", "model.n_embd=32"], ["train.batch_size=4", "model.n_embd=128"]],
    ids=["as it is", "large logits", "large tables"],
)
def test_the_estimate_is_within_15_percent_with_the_vocabulary_of_gpt_2(tmp_path: Path, settings: list[str]) -> None:
    check_peak(tmp_path, settings, 50_257)


def check_peak(tmp_path: Path, settings: list[str], vocab_size: int) -> None:
    """Of a process that evaluates beside its iterations, saves a snapshot after the third, and writes model.pth."""
    alphabet = "".join(map(chr, range(33, 33 + vocab_size)))
    (tmp_path / "input.txt").write_text(alphabet * (130_000 // vocab_size + 1), encoding="utf-8")
    prepare(tmp_path / "input.txt", tmp_path / "prepared", prepare_params())
    overrides = [*(f"train.{setting}" for setting in SHORT), "runtime.snapshot_seconds=3", "model.dropout=0.0"]
    command = [sys.executable, "-c", PEAK, str(tmp_path), *overrides, *settings]
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    result = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    estimated, peak = map(int, result.stdout.split())
    assert estimated == pytest.approx(peak, rel=0.15), f"{estimated / peak:.2f} of {peak / 1e6:.0f} MB"
