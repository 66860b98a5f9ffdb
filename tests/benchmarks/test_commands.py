"""Each benchmark has a command that says so, measures with tiny settings, and gives results that JSON can hold."""

import importlib
import json
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import yaml
from benchmark_examples import EXAMPLES, TINY
from model_helpers import small_values

from benchmarks import ablation, evaluations, loss, memory, plan, prepare, sample, scaling, startup, tokenizers, train
from benchmarks import all as everything
from benchmarks.contestants import samplers
from benchmarks.contestants.sizes import SIZES
from benchmarks.figures.losses import together
from benchmarks.figures.sections import SECTIONS
from gptmodel.config import Switches

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
    needed = {"loss": ["laptop.yaml", "--text", "input.txt"]}
    needed |= {key: ["--text", "input.txt"] for key in ("ablation", "tokenizers")}
    arguments = module.options().parse_args([*needed.get(name, []), "--json", "out.json"])
    assert arguments.json == Path("out.json")


def test_evaluations_are_compared_with_none() -> None:
    settings = ["train.eval_interval=3", "train.eval_iters=2", "model.n_layer=1", "train.batch_size=2"]
    results = measured(evaluations, ["--rounds", "2", "--iterations", "6", "-S", *settings])
    assert (results["evaluations"], results["batches"]) == (3, 4)
    assert shape(results) == shape(EXAMPLES["evaluations"])


def test_all_runs_each_but_the_long_trainings() -> None:
    assert set(NAMES) - set(everything.NAMES) == {"loss", "ablation", "tokenizers"}
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


def test_tokenizers(tmp_path: Path) -> None:
    preset, text = tmp_path / "small.yaml", tmp_path / "input.txt"
    preset.write_text(yaml.safe_dump(small_values()))
    text.write_text("to be, or not to be: that is the question\n" * 60)
    words = ["--params", str(preset), "--text", str(text), "--sizes", "270", "--seconds", "0.01", "--rounds", "1"]
    results = measured(tokenizers, words)
    names = [(one["tokenizer"], one["vocab_size"]) for one in results["tokenizers"]]
    assert names == [("char", len(set(text.read_text()))), ("byte", 256), ("bpe", 270)]


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
