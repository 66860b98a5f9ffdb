"""A plan is what the run then does: its counts and sizes nearly to the byte, its times by the loop's arithmetic."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from model_helpers import copied, equal_states, small_params, token_ids
from training_helpers import CPU, TRAIN_DATA, Watcher, new_state, plain_run, trained

from gptmodel.compute.ranks import ALONE_WORLD, World
from gptmodel.config import Params
from gptmodel.data.corpus import prepare
from gptmodel.data.prepared import load_prepared
from gptmodel.errors import ConfigError, TrainingError
from gptmodel.evaluation.loss import split_loss
from gptmodel.planning.measure import LEAST, Measured, measure
from gptmodel.planning.plan import PLOTS_SECONDS, evaluated_tokens, evaluation_count, make_plan
from gptmodel.planning.table import table
from gptmodel.planning.text import PlannedText, find_text
from gptmodel.tokenizers.byte import ByteTokenizer
from gptmodel.training.loop import Hooks, fit
from gptmodel.training.memory import estimate_bytes
from gptmodel.training.run import TrainingRun
from gptmodel.training.step import Nats, nats_of_all

MUON = {"muon_lr": 0.02, "muon_momentum": 0.95}
MEASURED = Measured(
    platform={"device": "cpu", "dtype": "float32"},
    parameters=1000,
    world=ALONE_WORLD,
    memory=400_000_000,
    threads=1,
    beside=False,
    build_seconds=1.5,
    iterations=20,
    iteration_seconds=0.5,
    spread=(0.4, 0.6),
    passes=9,
    block_seconds=0.25,
    evaluate_block_seconds=0.125,
    snapshot_seconds=2.0,
    snapshot_bytes=12_000,
    model_bytes=4_000,
    token_seconds=(0.1, 0.3),
)


@pytest.fixture(autouse=True)
def _threads_are_put_back() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def planned_text(train: int, val: int) -> PlannedText:
    return PlannedText(
        ids=token_ids(200), train_tokens=train, val_tokens=val, tokenizer=ByteTokenizer(), origin="a test"
    )


def listing(folder: Path) -> list[tuple[Path, int]]:
    return sorted((path, path.stat().st_mtime_ns) for path in folder.rglob("*"))


@pytest.mark.parametrize(("max_iters", "eval_interval"), [(1, 1), (1, 9), (6, 3), (7, 3), (8, 3), (5, 100)])
def test_the_evaluations_are_as_many_as_a_training_does(max_iters: int, eval_interval: int) -> None:
    section = {"max_iters": max_iters, "eval_interval": eval_interval}
    assert evaluation_count(small_params(train=section).train) == len(trained(train=section).history)


@pytest.mark.parametrize("tokens", [9, 10, 16, 17, 18, 90, 400])
@pytest.mark.parametrize("max_blocks", [None, 1, 2, 11, 50])
def test_the_tokens_of_an_evaluation_are_those_it_scores(tokens: int, max_blocks: int | None) -> None:
    model, losses = new_state().model, lambda logits, _: logits[:, 0]
    scored = split_loss(model, token_ids(tokens), losses, CPU, max_blocks=max_blocks).tokens
    assert evaluated_tokens(tokens, 8, max_blocks) == scored


@pytest.mark.parametrize(
    "sections",
    [
        {},
        {"model": {"n_embd": 32, "ngram_orders": [2, 3], "dropout": 0.1}, "train": {"optimizer": "muon", **MUON}},
        {"prepare": {"tokenizer": "byte"}, "train": {"optimizer": "sgd"}},
    ],
    ids=["adamw", "muon", "sgd"],
)
def test_the_sizes_are_those_of_the_files_of_a_real_run(tmp_path: Path, sections: dict[str, Any]) -> None:
    params = small_params(**sections)
    params = params.model_copy(update={"runtime": params.runtime.model_copy(update={"snapshot_seconds": 1e-9})})
    (tmp_path / "input.txt").write_text("Now is the winter of our discontent.\n" * 20, encoding="utf-8")
    text = find_text(params.fetch, params.prepare, tmp_path / "prepared", tmp_path / "input.txt")
    measured = measure(params, text, 0.0)
    plan = make_plan(params, text, measured, 0.0)

    prepare(tmp_path / "input.txt", tmp_path / "prepared", params.prepare)
    assert plan.prepared == sum(path.stat().st_size for path in (tmp_path / "prepared").iterdir())
    with TrainingRun.open(tmp_path / "runs", load_prepared(tmp_path / "prepared"), params) as run:
        hooks = Hooks(observer=Watcher(), save=run.save, stopped=lambda: False)
        assert fit(run.state, run.splits, params, run.place, hooks)
        snapshots = sorted(run.folder.glob("snapshot-*"))
        result = run.finish(tmp_path / "model.pth", tmp_path / "train.json", tmp_path / "history.csv")
    assert measured.parameters == result.parameters
    assert plan.model == pytest.approx((tmp_path / "model.pth").stat().st_size, rel=0.001)
    assert plan.snapshots == pytest.approx(sum(path.stat().st_size for path in snapshots), rel=0.03)
    assert len(snapshots) == 2
    assert plan.end == pytest.approx(snapshots[-1].stat().st_size, rel=0.03)
    assert plan.kept == plan.end + 2 * (plan.model + plan.prepared)  # without MLflow


def test_a_plan_neither_writes_nor_disturbs_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "input.txt").write_text("a rose is a rose\n" * 30, encoding="utf-8")
    sections: dict[str, Any] = {"model": {"dropout": 0.3}, "train": {"parts": 1}}
    params = small_params(**sections)
    before, weights = listing(tmp_path), copied(trained(**sections).model.transformer.state_dict())
    state = new_state(**sections)
    random = torch.get_rng_state()
    text = find_text(params.fetch, params.prepare, tmp_path / "prepared", tmp_path / "input.txt")
    measured = measure(params, text, 0.0)
    assert torch.equal(torch.get_rng_state(), random)
    assert listing(tmp_path) == before
    assert measured.iterations >= LEAST
    assert fit(state, *plain_run(**sections))
    assert equal_states(state.model.transformer.state_dict(), weights)


def arithmetic(params: Params, train: int = 800, val: int = 81, measured: Measured = MEASURED) -> Any:
    return make_plan(params, planned_text(train, val), measured, start=4.0)


def test_the_times_are_those_of_the_loop() -> None:
    plan = arithmetic(small_params(train={"max_iters": 10, "eval_interval": 4, "eval_iters": 4}))
    assert plan.evaluations == 4
    assert plan.evaluated == 12 * 8 + 80  # 12 blocks of 8 tokens, and all that the short split has
    assert plan.seconds.iterations == 5.0
    assert plan.seconds.evaluations == 4 * (12 + 10) * 0.25
    assert plan.seconds.snapshots == 0.0
    assert plan.snapshots == 0
    assert plan.seconds.training == 27.0
    assert plan.seconds.evaluate == (799 + 80) / 8 * 0.125 + PLOTS_SECONDS
    assert (plan.seconds.start, plan.seconds.build) == (4.0, 1.5)
    bounded = arithmetic(small_params(evaluate={"max_tokens": 100}))
    assert (plan.scored, bounded.scored) == (799 + 80, 96 + 80)  # 12 blocks of the long split
    assert bounded.seconds.evaluate == 176 / 8 * 0.125 + PLOTS_SECONDS
    assert plan.epochs == 10 * 3 * 8 / 800


@pytest.mark.parametrize(
    ("max_iters", "block_seconds", "waited"),
    [  # as if the thread that trains did nothing meanwhile
        (10, 0.01, 0.22),  # of evaluations of 0.22 s the iterations hide all but the last
        (10, 0.25, 2 * (5.5 - 2.0) + (5.5 - 1.0) + 5.5),  # 4, 4 and 2 iterations of 0.5 s hide as much of 5.5 s
        (8, 0.25, 2 * (5.5 - 2.0) + 5.5),
        (10, 0.08, (1.76 - 1.0) + 1.76),
    ],
)
def test_beside_the_iterations_an_evaluation_costs_what_they_wait_for(
    max_iters: int, block_seconds: float, waited: float
) -> None:
    """One thread waits half of it, since it takes a share; of two only one does."""
    for threads, part in ((1, 1 / 2), (2, 2 / 3)):
        params = small_params(train={"max_iters": max_iters, "eval_interval": 4, "eval_iters": 4})
        measured = replace(MEASURED, threads=threads, beside=True, block_seconds=block_seconds)
        plan = arithmetic(params, measured=measured)
        assert plan.seconds.evaluations == pytest.approx(part * waited)
        assert plan.seconds.training == pytest.approx(max_iters * 0.5 + part * waited)


@pytest.mark.parametrize(("every", "saves", "snapshots"), [(100.0, 0, 0), (20.0, 1, 1), (9.0, 3, 2), (0.001, 10, 2)])
def test_snapshots_come_as_often_as_they_are_due_and_at_most_every_iteration(
    every: float, saves: int, snapshots: int
) -> None:
    plan = arithmetic(
        small_params(train={"max_iters": 10, "eval_interval": 4, "eval_iters": 4}, runtime={"snapshot_seconds": every})
    )
    assert plan.seconds.snapshots == saves * 2.0
    assert plan.snapshots == snapshots * 12_000


@pytest.mark.parametrize("prompt", ["a", None])
@pytest.mark.parametrize(
    ("new", "block_size", "past_block", "seconds"),
    [
        (10, 1, "crop", 10 * 0.3),
        (4, 9, "crop", 4 * 0.1),
        (20, 9, "crop", 8 * 0.1 + 12 * 0.3),
        (10, 1, "shift", 10 * 0.3),
        (20, 9, "shift", 17 * 0.1 + 3 * 0.3),
        (21, 9, "shift", 17 * 0.1 + 4 * 0.3),
    ],
)
def test_tokens_cost_more_past_block_size(
    new: int, block_size: int, past_block: str, seconds: float, prompt: str | None
) -> None:
    sample = {"max_new_tokens": new, "prompt": prompt, "past_block": past_block}
    plan = arithmetic(small_params(model={"block_size": block_size}, sample=sample))
    assert plan.seconds.sample == pytest.approx(seconds)


def test_mlflow_keeps_a_model_of_its_own() -> None:
    disk = [arithmetic(small_params(runtime={"mlflow": on})).kept for on in (False, True)]
    assert disk[1] == disk[0] + MEASURED.model_bytes + 1_000_000


@pytest.mark.parametrize(("cores", "beside"), [({0}, False), ({0, 1}, True)])
def test_a_plan_knows_whether_evaluations_compute_beside_the_iterations(
    monkeypatch: pytest.MonkeyPatch, cores: set[int], beside: bool
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: cores, raising=False)
    assert measure(small_params(), planned_text(800, 80), 0.0).beside is beside


def test_the_memory_is_that_of_all_processes_and_one_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)), raising=False)
    params = small_params(train={"parts": 4, "batch_size": 4}, runtime={"processes": 2, "threads": 2})
    text = planned_text(800, 80)
    measured = measure(params, text, 0.0)
    each = estimate_bytes(params.model, params.train, text.tokenizer.vocab_size, 800, threads=2, beside=False)
    assert measured.memory == 2 * each
    assert (measured.threads, measured.beside) == (4, False)
    with pytest.raises(ConfigError, match=r"train\.parts = 4: cannot be shared by 3 processes"):
        measure(small_params(train={"parts": 4, "batch_size": 4}, runtime={"processes": 3}), text, 0.0)


@pytest.mark.parametrize(
    ("runtime", "world", "peak", "word"),
    [
        ({"processes": 1}, ALONE_WORLD, "at the peak of train; ", []),
        (
            {"processes": 2},
            World(0, 2, 2),
            "at the peak of train for 2 processes here; ",
            ["times are those of one process, which did the work of all 2"],
        ),
        (
            {"launcher": "torchrun"},
            ALONE_WORLD,
            "at the peak of train; ",
            ["memory and times are those of one process: runtime.launcher decides how many there will be"],
        ),
    ],
)
def test_what_was_measured_in_one_process_is_said_of_several(
    runtime: dict[str, Any], world: World, peak: str, word: list[str], tmp_path: Path
) -> None:
    params, measured = small_params(runtime=runtime), replace(MEASURED, world=world)
    lines = list(table(params, planned_text(800, 81), measured, arithmetic(params, measured=measured), tmp_path))
    assert [peak in line for line in lines if line.startswith("memory  ")] == [True]
    assert [line for line in lines if "one process" in line] == word


def test_what_could_not_run_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    text = planned_text(800, 80)
    with pytest.raises(TrainingError, match="of memory, and this machine has"):
        measure(small_params(model={"n_embd": 2**16, "n_head": 1}), text, 0.0)
    with pytest.raises(TrainingError, match=r"lower train\.learning_rate"):
        measure(small_params(train={"optimizer": "sgd", "learning_rate": 1e30}), text, 0.0)
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match=r"train\.device = cuda"):
            measure(small_params(train={"device": "cuda"}), text, 0.0)


def test_the_evaluate_stage_is_timed_apart_where_it_computes_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    text = replace(planned_text(200, 80), ids=TRAIN_DATA)
    same = measure(small_params(), text, 0.0)
    assert same.evaluate_block_seconds == same.block_seconds
    other = measure(small_params(evaluate={"threads": 2}), text, 0.0)
    assert other.evaluate_block_seconds != other.block_seconds


def test_what_a_plan_compiled_is_in_the_cache_when_the_training_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    real, waited = time.perf_counter, 0.0

    def compile_once(*_: object) -> Nats:
        nonlocal waited
        waited += 1.0 if calls else 1000.0
        calls.append("model")
        return nats_of_all

    monkeypatch.setattr("time.perf_counter", lambda: real() + waited)
    for place in ("planning.measure", "compute.place"):
        monkeypatch.setattr(f"gptmodel.{place}.find_compiler", lambda *_: ("a compiler", ""))
    for place in ("planning.measure", "training.loop"):
        monkeypatch.setattr(f"gptmodel.{place}.compiled", compile_once)
    measured = measure(small_params(train={"compile": True}), planned_text(800, 80), 0.0)
    assert 1.0 <= measured.build_seconds < 500
    assert measured.platform["compiler"] == "a compiler"
