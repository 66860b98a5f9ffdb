"""The folder for transformers, as its own Auto classes load it; and that a mistake in any step of the mapping shows."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from export_helpers import CHARACTERS, GPT2, PRE, ROTARY, STOCK, needs, small_language_model
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mapping_mistakes import AS_IS, LEARNED, MISTAKES, PRE_NORM, ROTATING, WHOLE

from gptmodel.config import ModelParams
from gptmodel.errors import ExportError
from gptmodel.export import classes, huggingface, stock
from gptmodel.export.bundle import certified
from gptmodel.export.certificate import Certificate
from gptmodel.export.weights import ModelWeights, without_decoder_bias
from gptmodel.tokenizers.base import Tokenizer
from gptmodel.tokenizers.bpe import BpeTokenizer
from gptmodel.tokenizers.byte import ByteTokenizer
from gptmodel.tokenizers.char import CharTokenizer

pytestmark = [pytest.mark.export, pytest.mark.usefixtures("_libraries")]


@pytest.fixture(scope="module")
def _libraries() -> None:
    needs(*huggingface.LIBRARIES)


def exported(folder: Path, class_name: str, case: dict[str, Any]) -> Certificate:
    folder.mkdir(exist_ok=True)
    model = small_language_model(**case)
    assert huggingface.write(model, folder) == class_name
    return certified(model, huggingface.FORM, folder)


@pytest.mark.parametrize("case", STOCK)
def test_what_is_read_back_computes_the_same(case: str, tmp_path: Path) -> None:
    certificate = exported(tmp_path, *STOCK[case])
    assert certificate.compared == "logits"
    assert certificate.largest_difference < 1e-5
    assert certificate.greedy_tokens == certificate.greedy_tokens_same == 40


def test_it_is_written_the_same_each_time(tmp_path: Path) -> None:
    for name in ("one", "other"):
        exported(tmp_path / name, *STOCK["learned"])
    one, other = ({p.name: p.read_bytes() for p in (tmp_path / name).iterdir()} for name in ("one", "other"))
    assert one == other
    assert set(one) == {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }


def square_not_turned(parts: dict[str, Any]) -> dict[str, Any]:
    """GPT-2's other matrices would not even load."""
    return {name: tensor.t() if len(set(tensor.shape)) == 2 else tensor for name, tensor in parts.items()}


def bias_dropped(_params: Any, state: dict[str, Any]) -> dict[str, Any]:
    return {name: tensor for name, tensor in state.items() if name != "decoder.bias"}


def bias_raised(params: ModelParams, state: dict[str, Any]) -> dict[str, Any]:
    return without_decoder_bias(params, {**state, "decoder.bias": state["decoder.bias"] + 0.01})


def weights(name: str, other: Any) -> Callable[[pytest.MonkeyPatch], None]:
    """Another form of a part of the weights."""
    return lambda patch: patch.setattr(ModelWeights, name, other)


def config(class_name: str, **changes: Any) -> Callable[[pytest.MonkeyPatch], None]:
    """Another value in the config that one class gets; None leaves the key out."""

    def mutate(patch: pytest.MonkeyPatch) -> None:
        for kind, chosen in classes.CLASSES.items():
            if chosen.name == class_name:
                patch.setitem(classes.CLASSES, kind, replace(chosen, config=partial(changed, chosen.config)))

    def changed(make: Callable[[ModelParams], dict[str, Any]], params: ModelParams) -> dict[str, Any]:
        return {key: value for key, value in (make(params) | changes).items() if value is not None}

    return mutate


EACH: dict[str, tuple[dict[str, Any], dict[str, tuple[str, Any]]]] = {
    "GPT2LMHeadModel": ({**PRE, "activation": "gelu"}, MISTAKES | PRE_NORM | LEARNED),
    "GPTNeoXForCausalLM": ({**ROTARY, "activation": "gelu"}, MISTAKES | PRE_NORM | ROTATING),
    "ArceeForCausalLM": ({**ROTARY, "norm_type": "rmsnorm", "activation": "relu2"}, MISTAKES | PRE_NORM | ROTATING),
    "OPTForCausalLM": ({}, MISTAKES | LEARNED),
}
"""Of each class, a model and the mistakes in its weights."""
WRONG: dict[str, list[dict[str, Any]]] = {
    "GPT2LMHeadModel": [{"n_head": 1}, {"activation_function": "gelu_new"}, {"layer_norm_epsilon": 0.1}],
    "GPTNeoXForCausalLM": [
        {"num_attention_heads": 1},
        {"hidden_act": "gelu_new"},
        {"layer_norm_eps": 0.1},
        {"use_parallel_residual": True},
        {"rotary_pct": None},
        {"rotary_emb_base": 500.0},
    ],
    "ArceeForCausalLM": [
        {"num_attention_heads": 1, "num_key_value_heads": 1, "head_dim": 8},
        {"hidden_act": "gelu"},
        {"rms_norm_eps": 0.1},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0}},
        {"attention_bias": None},
        {"mlp_bias": None},
    ],
    "OPTForCausalLM": [{"num_attention_heads": 1}, {"activation_function": "gelu"}, {"do_layer_norm_before": True}],
}
"""Of each class, what its config could say and the weights would still load."""
MUTANTS: dict[str, tuple[dict[str, Any], Callable[[pytest.MonkeyPatch], None]]] = {
    **{
        f"{name}: {mistake}": ({**WHOLE, **case}, weights(*other))
        for name, (case, mistakes) in EACH.items()
        for mistake, other in mistakes.items()
    },
    **{
        f"{name}: another {' and '.join(changes)}": ({**WHOLE, **EACH[name][0]}, config(name, **changes))
        for name, wrong in WRONG.items()
        for changes in wrong
    },
    "GPT2LMHeadModel: a matrix not turned": (
        STOCK["learned"][1],
        lambda patch: patch.setattr(classes, "_turned", square_not_turned),
    ),
    "GPT2LMHeadModel: the exact GELU": (GPT2, config("GPT2LMHeadModel", activation_function="gelu")),
    "GPT2LMHeadModel: positions where there are none": (
        STOCK["no positions"][1],
        weights("positions", property(lambda _: torch.ones(8, 8).tril())),
    ),
    "GPTNeoXForCausalLM: query, key and value not by heads": (
        STOCK["rotary"][1],
        weights("by_heads", AS_IS["in_turn"]),
    ),
    "OPTForCausalLM: the scale in both uses of the matrix": (
        STOCK["one matrix, scaled"][1],
        weights("decoder", AS_IS["embedding"]),
    ),
    "OPTForCausalLM: the bias dropped": (
        STOCK["the tutorial"][1],
        lambda patch: patch.setattr(stock, "without_decoder_bias", bias_dropped),
    ),
    "OPTForCausalLM: a number added to all logits": (  # which changes no probability
        STOCK["the tutorial"][1],
        lambda patch: patch.setattr(stock, "without_decoder_bias", bias_raised),
    ),
}


def test_every_class_has_its_mistakes() -> None:
    assert EACH.keys() == WRONG.keys() == {chosen.name for chosen in classes.CLASSES.values()}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_mistake_in_the_mapping_shows_when_it_is_read_back(
    mutant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case, mutate = MUTANTS[mutant]
    mutate(monkeypatch)
    with pytest.raises(ExportError, match=r"as read back, logits differ by at most .*: more than 1e-04"):
        exported(tmp_path, mutant.partition(":")[0], case)


@pytest.mark.parametrize("name", EACH)
def test_without_a_mistake_nothing_shows(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config(name)(monkeypatch)
    assert exported(tmp_path, name, {**WHOLE, **EACH[name][0]}).largest_difference < 1e-5


def test_another_id_for_a_character_shows(tmp_path: Path) -> None:
    model = small_language_model(**PRE)
    huggingface.write(model, tmp_path)
    file = tmp_path / "tokenizer.json"
    file.write_text(file.read_text("utf-8").replace('"a": 3', '"a": 4').replace('"b": 4', '"b": 3'), encoding="utf-8")
    with pytest.raises(ExportError, match="as read back, the tokenizer gives other token ids"):
        certified(model, huggingface.FORM, tmp_path)


@pytest.fixture(scope="module", params=["char", "byte", "bpe"])
def tokenizers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Tokenizer, Any]:
    """A tokenizer, and what AutoTokenizer makes of its folder."""
    from transformers import AutoTokenizer

    text = f"{CHARACTERS * 9} abc aaa bcd  éé€ " * 40 + "a" * 300
    learnt = BpeTokenizer.fit(iter([text.encode()]), iter([]), 300)
    own = {"char": CharTokenizer(CHARACTERS + "xyz\r"), "byte": ByteTokenizer(), "bpe": learnt}[request.param]
    folder = tmp_path_factory.mktemp("tokenizer")
    huggingface.write(small_language_model(own, **PRE), folder)
    return own, AutoTokenizer.from_pretrained(folder, local_files_only=True)


@given(text=st.text(alphabet=CHARACTERS + "xyz\r", max_size=60) | st.text(max_size=30))
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_ids_and_texts_are_those_of_our_tokenizer(tokenizers: tuple[Tokenizer, Any], text: str) -> None:
    own, theirs = tokenizers
    ids = own.encode(text, "replace")
    assert theirs(text)["input_ids"] == ids
    assert theirs.decode(ids) == own.decode(ids)


def test_the_lines_of_the_manual_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of docs/EXPORT.md, as they stand there."""
    from model_helpers import ROOT

    monkeypatch.chdir(tmp_path)
    (tmp_path / "exported").mkdir()
    huggingface.write(small_language_model(CharTokenizer("ROMEO:\nabc "), **PRE), tmp_path / "exported")
    manual = (ROOT / "docs" / "EXPORT.md").read_text(encoding="utf-8")
    lines = manual.split("```python\n")[1].split("```")[0]
    results: dict[str, Any] = {}
    exec(lines, results)
    assert results["text"].startswith("ROMEO:")
    assert len(results["text"]) == 8  # of block_size
