"""Each benchmark has a command that says so, measures with tiny settings, and gives results that JSON can hold."""

import importlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import yaml
from benchmark_examples import EXAMPLES, TINY
from model_helpers import batch, language_model, scramble, small_model, small_values

from benchmarks import (
    ablation,
    evaluations,
    gpu,
    lecture,
    loss,
    memory,
    past_block,
    plan,
    prepare,
    processes,
    sample,
    scaling,
    startup,
    tokenizers,
    train,
)
from benchmarks import all as everything
from benchmarks.command import run
from benchmarks.contestants import samplers
from benchmarks.contestants.sizes import SIZES
from benchmarks.figures.losses import together
from benchmarks.figures.sections import SECTIONS
from gptmodel.config import Switches
from gptmodel.errors import ConfigError

NAMES = [section.name for section in SECTIONS]


def measured(module: ModuleType, words: Sequence[str]) -> dict[str, Any]:
    """The results for these options; they have to survive JSON, and to make tables."""
    results: dict[str, Any] = module.measure(module.options().parse_args(words))
    assert json.loads(json.dumps(results)) == results
    assert "| --- |" in module.markdown(results)
    return results


def shape(value: Any) -> Any:
    """The form of results: keys of figures, whatever the names of what was measured."""
    if isinstance(value, dict):
        return {key: shape(inner) for key, inner in value.items()}
    return type(value)


@pytest.mark.parametrize("name", NAMES)
def test_each_says_its_command_and_takes_json(name: str) -> None:
    module = importlib.import_module(f"benchmarks.{name}")
    assert f"python -m benchmarks.{name}" in module.options().format_help()
    needed = {key: ["laptop.yaml", "--text", "input.txt"] for key in ("loss", "past_block")}
    needed |= {key: ["--text", "input.txt"] for key in ("ablation", "tokenizers")}
    arguments = module.options().parse_args([*needed.get(name, []), "--json", "out.json"])
    assert arguments.json == Path("out.json")


def test_evaluations_are_compared_with_none() -> None:
    settings = ["train.eval_interval=3", "train.eval_iters=2", "model.n_layer=1", "train.batch_size=2"]
    results = measured(evaluations, ["--rounds", "2", "--iterations", "6", "-S", *settings])
    assert (results["evaluations"], results["batches"]) == (3, 4)
    assert shape(results) == shape(EXAMPLES["evaluations"])


def test_the_gpus_parts_run_on_a_cpu(tmp_path: Path) -> None:
    text = tmp_path / "input.txt"
    text.write_text("It runs here, so that it is right when a card is there.\n" * 40)
    results = measured(gpu, ["--device", "cpu", "--tiny", "--rounds", "1", "--seconds", "0", "--text", str(text)])
    assert len(results["checks"]) > 8
    assert [row for row in results["checks"] if not row["good"]] == []
    assert results["speed"]["tiny"]["failed"] == {}
    assert set(results["speed"]["tiny"]["contestants"]) == {"gptmodel", "plain loop"}
    assert results["trainings"]["tiny"]["iterations"] == 4
    assert set(results["sampling"]) == {"1", "2"}


def test_tokenizers(tmp_path: Path) -> None:
    preset, text = tmp_path / "small.yaml", tmp_path / "input.txt"
    preset.write_text(yaml.safe_dump(small_values()))
    text.write_text("to be, or not to be: that is the question\n" * 60)
    words = ["--params", str(preset), "--text", str(text), "--sizes", "270", "--seconds", "0.01", "--rounds", "1"]
    results = measured(tokenizers, words)
    names = [(one["tokenizer"], one["vocab_size"]) for one in results["tokenizers"]]
    assert names == [("char", len(set(text.read_text()))), ("byte", 256), ("bpe", 270)]


def test_the_time_of_a_tokenizer_is_given_by_no_schedule(tmp_path: Path) -> None:
    preset, text = tmp_path / "small.yaml", tmp_path / "input.txt"
    preset.write_text(yaml.safe_dump(small_values()))
    text.write_text("to be, or not to be: that is the question\n" * 60)
    words = ["--params", str(preset), "--text", str(text), "--kinds", "char", "--rounds", "1"]
    words += ["-S", "train.lr_schedule=cosine", "train.min_lr=0.0"]
    with pytest.raises(ConfigError, match="set constant"):
        measured(tokenizers, words)


def test_a_text_that_is_not_there_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["tokenizers", "--text", "nowhere.txt"])
    with pytest.raises(SystemExit, match="2"):
        run(tokenizers.options(), tokenizers.measure, tokenizers.markdown)
    assert capsys.readouterr().err.splitlines()[-1].endswith("error: nowhere.txt: there is no such file")


def test_all_runs_each_but_the_long_trainings() -> None:
    assert set(NAMES) - set(everything.NAMES) == {"loss", "ablation", "tokenizers", "past_block", "gpu"}
    for name in everything.NAMES:
        importlib.import_module(f"benchmarks.{name}").options().parse_args([])  # by its defaults
    assert everything.options().parse_args([]).names == []


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_make_tables(name: str) -> None:
    assert "| --- |" in importlib.import_module(f"benchmarks.{name}").markdown(EXAMPLES[name])


def test_prepare() -> None:
    results = measured(prepare, ["--megabytes", "1", "--rounds", "1"])
    assert list(results["texts"]) == list(prepare.LETTERS)


def test_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samplers, "contestants", lambda: ["gptmodel", "plain loop"])
    results = measured(sample, ["--threads", "1", "--rounds", "1", "--streams", "1", "2", "--past", "1"])
    assert [case["tokens_that_differ"] for case in results["cases"]] == [0, 0, 0, 0]


def test_scaling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SIZES, "tutorial", TINY)
    axes = ("n_layer", "batch_size", "megabytes", "n_embd")  # of the last one no value is small enough
    words = [
        "--base",
        "tutorial",
        "--axes",
        *axes,
        "--largest",
        "2",
        "--threads",
        "1",
        "--rounds",
        "1",
        "--seconds",
        "0",
    ]
    results = measured(scaling, words)
    assert list(results["axes"]) == ["n_layer", "batch_size", "megabytes"]
    for points in results["axes"].values():
        assert [point["value"] for point in points] == [1, 2]
    assert shape(results["axes"]["n_layer"][0]) == shape(EXAMPLES["scaling"]["axes"]["n_layer"][0])


def test_loss(tmp_path: Path) -> None:
    preset, text = tmp_path / "small.yaml", tmp_path / "input.txt"
    preset.write_text(yaml.safe_dump(small_values()))
    text.write_text("abcdefghij\n" * 100)
    results = measured(loss, [str(preset), "--text", str(text), "--seeds", "1", "2"])
    assert [run["settings"] for run in results["runs"]["small"]] == [["train.seed=1"], ["train.seed=2"]]
    example, training = EXAMPLES["loss"]["runs"]["laptop"][0], results["runs"]["small"][0]
    assert {key: shape(value) for key, value in training.items() if key != "history"} == {
        key: shape(value) for key, value in example.items() if key != "history"
    }
    both = together([results, {**results, "levels": [9.0], "runs": {"small": [training], "other": [training]}}])
    assert {label: len(runs) for label, runs in both["runs"].items()} == {"small": 3, "other": 1}
    assert both["levels"] == sorted({9.0, *loss.LEVELS}, reverse=True)


def test_past_block(tmp_path: Path) -> None:
    preset, text = tmp_path / "small.yaml", tmp_path / "input.txt"
    preset.write_text(yaml.safe_dump(small_values()))
    text.write_text("abcdefghij\n" * 100)
    results = measured(past_block, [str(preset), "--text", str(text), "-S", "train.max_iters=2"])
    row = results["presets"]["small train.max_iters=2"]
    assert (row["block_size"], row["tokens"]) == (8, 110 - 1 - 8)
    assert row["difference"]["median"] == pytest.approx(row["shift"]["median"] - row["crop"]["median"])


def test_past_block_scores_each_token_from_what_a_way_leaves() -> None:
    """Against contexts written out, in blocks of 4."""
    model = language_model(scramble(small_model(block_size=4)).eval())
    ids = batch(1, 11)[0].tolist()
    nats = [
        -torch.log_softmax(model.predict(torch.tensor([ids[first:end]]))[0, -1], -1)[ids[end]].item()
        for first, end in [(1, 5), (2, 6), (3, 7), (4, 8), (5, 9), (6, 10)]
    ]
    assert past_block.cropped(model, ids) == pytest.approx(sum(nats) / 6, abs=1e-5)
    nats = [
        -torch.log_softmax(model.predict(torch.tensor([ids[first:end]]))[0, -1], -1)[ids[end]].item()
        for first, end in [(2, 5), (2, 6), (4, 7), (4, 8), (6, 9), (6, 10)]
    ]
    assert past_block.shifted(model, ids) == pytest.approx(sum(nats) / 6, abs=1e-5)


def test_ablation(tmp_path: Path) -> None:
    params, text = tmp_path / "small.yaml", tmp_path / "input.txt"
    params.write_text(yaml.safe_dump(small_values()))
    text.write_text("abcdefghij\n" * 2100)  # 20 passages of 1 kB to score, at a tenth held out
    words = ["--text", str(text), "--params", str(params), "--iterations", "3", "--seeds", "1", "2"]
    asked = ["--changes", "model.position=rotary", "train.optimizer=muon", "-S", "prepare.train_fraction=0.1"]
    results = measured(ablation, [*words, *asked])
    assert results["changes"]["train.optimizer=muon"]["with"] == ["train.muon_lr=0.02", "train.muon_momentum=0.95"]
    for row in results["changes"].values():
        assert row["passages"] == 20
        assert row["text_margin"] > 0
        assert row["seed_margin"] > 0
        assert len(row["seconds"]) == 2


def test_an_ablation_changes_every_switch() -> None:
    changed = {change[0].partition("=")[0] for change in ablation.changes(small_values())}
    assert {f"model.{name}" for name in Switches.model_fields} - {"model.ngram_dropout"} <= changed
    assert {"train.optimizer", "train.lr_schedule"} <= changed


@pytest.mark.slow
def test_train_in_processes_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "contestants", lambda: ["gptmodel", "plain loop"])
    words = ["--sizes", "tutorial", "--threads", "1", "--rounds", "1", "--iterations", "1"]
    results, example = (whole["sizes"]["tutorial"] for whole in (measured(train, words), EXAMPLES["train"]))
    assert {**shape(results), "breakdown": None} == {**shape(example), "breakdown": None}


@pytest.mark.slow
def test_processes_take_turns_with_threads() -> None:
    results = measured(processes, ["--sizes", "tutorial", "--rounds", "1", "--iterations", "2"])
    assert shape(results) == shape(EXAMPLES["processes"])
    assert results["sizes"]["tutorial"]["numbers"] > 200_000


@pytest.mark.slow
def test_lecture_as_whole_programs(tmp_path: Path) -> None:
    text = tmp_path / "input.txt"
    text.write_text("To be, or not to be, that is the question.\n" * 300)
    words = ["--text", str(text), "--rounds", "1", "--iterations", "2", "--eval-iters", "1", "--tokens", "5"]
    results = measured(lecture, [*words, "--threads", "1"])
    assert shape(results) == shape(EXAMPLES["lecture"])
    for figures in results["programs"].values():
        assert 0 < figures["training"]["median"] < figures["whole"]["median"]
        assert figures["processor"]["median"] > 0
        assert 0 < figures["val_loss"]["median"] < 10


def test_lecture_without_a_text_says_where_one_is(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no such text; run `dvc repro fetch` first, or give --text FILE"):
        lecture.measure(lecture.options().parse_args(["--text", str(tmp_path / "none.txt")]))


@pytest.mark.slow
def test_startup_of_a_contestant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(startup, "contestants", lambda: ["gptmodel"])
    results = measured(startup, ["--commands", "--rounds", "1", "--threads", "1"])
    assert shape(results["contestants"]) == shape(EXAMPLES["startup"]["contestants"])
    steps = results["contestants"]["gptmodel"]
    assert 0 < steps["built"]["median"] < steps["iterated"]["median"]


@pytest.mark.slow
def test_plan_by_processor_time() -> None:
    changes = ["train.max_iters=4", "train.eval_interval=2", "train.eval_iters=1", "model.n_layer=1"]
    words = ["--cpu", "--threads", "1", "--settings", "the tutorial's sizes", "-S", *changes]
    (rows,) = measured(plan, words)["settings"].values()
    assert [row["what"] for row in rows] == ["training", "the `train` command", "the `evaluate` command"]
    assert shape(rows[0]) == shape(EXAMPLES["plan"]["settings"]["wider"][0])
    assert all(seconds > 0 for row in rows for seconds in (row["seconds"], *row["planned"]))


@pytest.mark.slow
def test_memory_in_processes_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "contestants", lambda: ["gptmodel", "gptmodel, compiled"])
    words = ["--sizes", "tutorial", "--rounds", "1", "--iterations", "1", "--threads", "1", "--megabytes", "1"]
    results = measured(memory, words)
    assert shape(results["training"]["tutorial"]["contestants"]["gptmodel"]) == shape(
        EXAMPLES["memory"]["training"]["tutorial"]["contestants"]["gptmodel"]
    )
    assert torch.get_num_threads() == 1
