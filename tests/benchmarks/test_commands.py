"""Each benchmark has a command that says so, measures with tiny settings, and gives results that JSON can hold."""

import importlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import yaml
from benchmark_examples import EXAMPLES
from model_helpers import small_values

from benchmarks import all as everything
from benchmarks import breakdown, evaluations, loss, memory, prepare, sample, samplers, scaling
from benchmarks.growth import exponents, in_words
from benchmarks.models import SIZES, Sizes
from benchmarks.peak import iteration_operations
from benchmarks.report import command, spread
from benchmarks.sections import SECTIONS

NAMES = [section.name for section in SECTIONS]
TINY = Sizes(n_layer=1, n_head=2, n_embd=8, block_size=8, batch_size=2)


def measured(module: ModuleType, words: Sequence[str]) -> dict[str, Any]:
    """The results for these options; they have to survive JSON, and to make tables."""
    results: dict[str, Any] = module.measure(module.parser().parse_args(words))
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
    assert f"python -m benchmarks.{name}" in module.parser().format_help()
    needed = ["laptop.yaml", "--text", "input.txt"] if name == "loss" else []
    given = module.parser().parse_args([*needed, "--json", "out.json"])
    assert given.json == Path("out.json")


def test_evaluations_are_compared_with_none() -> None:
    settings = ["train.eval_interval=3", "train.eval_iters=2", "model.n_layer=1", "train.batch_size=2"]
    results = measured(evaluations, ["--rounds", "2", "--iterations", "6", "-S", *settings])
    assert (results["evaluations"], results["batches"]) == (3, 4)
    assert shape(results) == shape(EXAMPLES["evaluations"])


def test_all_runs_each_but_the_long_trainings() -> None:
    assert set(everything.COMMANDS) == set(NAMES) - {"loss"}
    for name, words in everything.COMMANDS.items():
        importlib.import_module(f"benchmarks.{name}").parser().parse_args(words)
    assert everything.parser().parse_args([]).names == []


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
    axes = ("n_layer", "batch_size", "megabytes")
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
    for found in results["axes"].values():
        assert [point["value"] for point in found] == [1, 2]
    assert shape(results["axes"]["n_layer"][0]) == shape(EXAMPLES["scaling"]["axes"]["n_layer"][0])


def test_loss(tmp_path: Path) -> None:
    preset, text = tmp_path / "small.yaml", tmp_path / "input.txt"
    preset.write_text(yaml.safe_dump(small_values()))
    text.write_text("abcdefghij\n" * 100)
    results = measured(loss, [str(preset), "--text", str(text), "--seeds", "1", "2"])
    assert [run["settings"] for run in results["runs"]["small"]] == [["train.seed=1"], ["train.seed=2"]]
    example, found = EXAMPLES["loss"]["runs"]["laptop"][0], results["runs"]["small"][0]
    assert {key: shape(value) for key, value in found.items() if key != "history"} == {
        key: shape(value) for key, value in example.items() if key != "history"
    }
    both = loss.together([results, {**results, "levels": [9.0], "runs": {"small": [found], "other": [found]}}])
    assert {label: len(made) for label, made in both["runs"].items()} == {"small": 3, "other": 1}
    assert both["levels"] == sorted({9.0, *loss.LEVELS}, reverse=True)


def test_breakdown_accounts_for_all_of_the_time() -> None:
    found = breakdown.breakdown(TINY, 2)
    assert found.pop("times as long when profiled") > 0
    assert sum(found.values()) == pytest.approx(1.0)
    assert all(share > 0 for share in found.values())


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("aten::addmm", "matrix products"),
        ("aten::baddbmm", "attention"),
        ("aten::_scaled_dot_product_flash_attention_for_cpu_backward", "attention"),
        ("aten::_fused_adamw_", "optimizer"),
        ("Optimizer.step#AdamW.step", "optimizer"),
        ("aten::threshold_backward", breakdown.OTHERS),
        ("aten::native_layer_norm", breakdown.OTHERS),
        ("aten::t", breakdown.REST),
        ("autograd::engine::evaluate_function: MmBackward0", breakdown.REST),
    ],
)
def test_operators_are_grouped(name: str, group: str) -> None:
    assert breakdown.group(name) == group


def test_operations_are_those_of_the_products() -> None:
    """Against a count of each product of the reference: rows x columns x inner, twice, and twice more backward."""
    C, T, B = TINY.n_embd, TINY.block_size, TINY.batch_size
    block = B * T * (3 * C * C + C * C + 4 * C * C + 4 * C * C) + 2 * B * T * T * C
    assert iteration_operations(TINY) == 3 * 2 * (TINY.n_layer * block + B * T * C * 65)


@pytest.mark.thorough
def test_memory_in_processes_of_their_own() -> None:
    words = ["--sizes", "tutorial", "--rounds", "1", "--iterations", "1", "--threads", "1", "--megabytes", "1"]
    results = measured(memory, words)
    assert shape(results["training"]["tutorial"]["contestants"]["gptmodel"]) == shape(
        EXAMPLES["memory"]["training"]["tutorial"]["contestants"]["gptmodel"]
    )
    assert torch.get_num_threads() == 1


def points(time: Callable[[int], float]) -> list[dict[str, Any]]:
    return [{"value": value, "milliseconds": spread([time(value)])} for value in (1, 2, 4, 8)]


def test_growth_in_words() -> None:
    assert exponents(points(lambda value: value**2)) == pytest.approx([2, 2, 2])
    assert in_words(points(lambda value: value)) == "linear from 1 to 8 (exponent 1.00 to 1.00)"
    shown = in_words(points(lambda value: max(3, value) ** 1.5))
    assert shown == "less than linear from 1 to 4 (exponent 0.00 to 0.62), more than linear from 4 to 8 (exponent 1.50)"


def test_a_command_is_shown_without_places() -> None:
    words = ["presets/laptop.yaml", "--text", "/some/where/input.txt", "--json", "out.json", "-S", "train.lr=1"]
    assert command("loss", words) == "python -m benchmarks.loss presets/laptop.yaml --text input.txt -S train.lr=1"
