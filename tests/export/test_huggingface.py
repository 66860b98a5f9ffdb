"""The folder for transformers, as its own Auto classes load it; and that a mistake in any step of the mapping shows."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from export_helpers import CHARACTERS, PRE, STOCK, needs, small_language_model
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

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
AS_IS = {key: value for key, value in vars(ModelWeights).items() if not key.startswith("__")}


@pytest.fixture(scope="module")
def _libraries() -> None:
    needs(*huggingface.LIBRARIES)


def exported(folder: Path, case: str) -> Certificate:
    folder.mkdir(exist_ok=True)
    model = small_language_model(**STOCK[case][1])
    assert huggingface.write(model, folder) == STOCK[case][0]
    return certified(model, huggingface.FORM, folder)


@pytest.mark.parametrize("case", STOCK)
def test_what_is_read_back_computes_the_same(case: str, tmp_path: Path) -> None:
    certificate = exported(tmp_path, case)
    assert certificate.compared == "logits"
    assert certificate.largest_difference < 1e-5
    assert certificate.greedy_tokens == certificate.greedy_tokens_same == 40


def test_it_is_written_the_same_each_time(tmp_path: Path) -> None:
    for name in ("one", "other"):
        exported(tmp_path / name, "learned")
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


def config(name: str, **changes: Any) -> Callable[[pytest.MonkeyPatch], None]:
    """Another value in the config that one class gets; None leaves the key out."""

    def mutate(patch: pytest.MonkeyPatch) -> None:
        for key, chosen in classes.CLASSES.items():
            if chosen.name == name:
                make = chosen.config
                mutant = classes.StockClass(
                    chosen.name,
                    lambda params, make=make: {k: v for k, v in (make(params) | changes).items() if v is not None},
                    chosen.weights,
                )
                patch.setitem(classes.CLASSES, key, mutant)

    return mutate


def weights(name: str, other: Any) -> Callable[[pytest.MonkeyPatch], None]:
    """Another form of a part of the weights."""
    return lambda patch: patch.setattr(ModelWeights, name, other)


def bias_dropped(_params: Any, state: dict[str, Any]) -> dict[str, Any]:
    return {name: tensor for name, tensor in state.items() if name != "decoder.bias"}


def bias_raised(params: Any, state: dict[str, Any]) -> dict[str, Any]:
    return without_decoder_bias(params, {**state, "decoder.bias": state["decoder.bias"] + 0.01})


def without_biases(model: ModelWeights, layer: int, part: str) -> Any:
    heads = AS_IS["_heads"](model, layer, part)
    return {**heads, "bias": torch.zeros_like(heads["bias"])}


def biases_not_in_halves(model: ModelWeights, layer: int, part: str) -> Any:
    return {**AS_IS["_rotating"](model, layer, part), "bias": AS_IS["_heads"](model, layer, part)["bias"]}


def late_positions(model: ModelWeights) -> Any:
    return AS_IS["positions"].fget(model).roll(1, dims=0)


MUTANTS: dict[str, tuple[str, Callable[[pytest.MonkeyPatch], None]]] = {
    "pairs not put into halves": ("rotary", weights("_rotating", AS_IS["_heads"])),
    "pairs not put into halves, rmsnorm": ("rmsnorm", weights("_rotating", AS_IS["_heads"])),
    "values put into halves too": (
        "rmsnorm",
        weights("_heads", lambda m, n, part: {k: v.flip(1) for k, v in AS_IS["_heads"](m, n, part).items()}),
    ),
    "query, key and value not by heads": ("rotary", weights("by_heads", AS_IS["in_turn"])),
    "biases left out": ("GPT-2 itself", weights("_heads", without_biases)),
    "biases left out, rotary": ("rotary, biases", weights("_heads", without_biases)),
    "biases left out, rmsnorm": ("rmsnorm, biases", weights("_heads", without_biases)),
    "biases left out, post-norm": ("post-norm, biases", weights("_heads", without_biases)),
    "biases of pairs not put into halves": ("rmsnorm, biases", weights("_rotating", biases_not_in_halves)),
    "the scale in both uses of the matrix": ("one matrix, scaled", weights("decoder", AS_IS["embedding"])),
    "the exact GELU": ("GPT-2 itself", config("GPT2LMHeadModel", activation_function="gelu")),
    "query and key exchanged": ("learned", weights("query", AS_IS["key"])),
    "a matrix not turned": ("learned", lambda patch: patch.setattr(classes, "_turned", square_not_turned)),
    "the scale left out": ("post-norm", weights("embedding", property(lambda m: m._state["encoder.weight"]))),
    "positions one late": ("learned", weights("positions", property(late_positions))),
    "positions one late, behind OPT's offset": ("post-norm", weights("positions", property(late_positions))),
    "positions where there are none": (
        "no positions",
        weights("positions", property(lambda _: torch.ones(8, 8).tril())),
    ),
    "the bias dropped": ("the tutorial", lambda patch: patch.setattr(stock, "without_decoder_bias", bias_dropped)),
    "a number added to all logits": (  # which changes no probability
        "the tutorial",
        lambda patch: patch.setattr(stock, "without_decoder_bias", bias_raised),
    ),
    "a quarter of the head turned": ("rotary", config("GPTNeoXForCausalLM", rotary_pct=None)),
    "attention beside feed-forward": ("rotary", config("GPTNeoXForCausalLM", use_parallel_residual=True)),
    "another base of the angles": ("rmsnorm", config("ArceeForCausalLM", rope_parameters={"rope_theta": 500.0})),
    "another epsilon": ("rmsnorm", config("ArceeForCausalLM", rms_norm_eps=0.1)),
    "GPT-2's own GELU": ("learned", config("GPT2LMHeadModel", activation_function="gelu_new")),
    "norms before": ("post-norm", config("OPTForCausalLM", do_layer_norm_before=True)),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_mistake_in_the_mapping_shows_when_it_is_read_back(
    mutant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case, mutate = MUTANTS[mutant]
    mutate(monkeypatch)
    with pytest.raises(ExportError, match=r"as read back, logits differ by at most .*: more than 1e-04"):
        exported(tmp_path, case)


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
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
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
