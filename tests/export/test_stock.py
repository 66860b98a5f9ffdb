"""Which models a stock class holds, with which config, and what is said of those that none holds."""

from pathlib import Path
from typing import Any

import pytest
import torch
from export_helpers import PRE, ROTARY, STOCK, small_language_model
from model_helpers import batch, model_params, scramble, small_model

from gptmodel.errors import ExportError
from gptmodel.export.classes import CLASSES
from gptmodel.export.gguf_file import write as write_gguf
from gptmodel.export.onnx_file import write as write_onnx
from gptmodel.export.stock import StockModel, stock_model
from gptmodel.export.tokenizer_json import FORMS, tokenizer_json
from gptmodel.export.weights import without_decoder_bias
from gptmodel.tokenizers.byte import ByteTokenizer
from gptmodel.tokenizers.kinds import KINDS

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "n-grams": ({**PRE, "ngram_orders": [2, 3]}, "model.ngram_orders = [2, 3]: no stock class"),
    "counts": ({**PRE, "kneser_ney": 3, "kneser_ney_share": 0.3}, "model.kneser_ney = 3: no stock class"),
    "queries normalised": ({**PRE, "qk_norm": True}, "model.qk_norm = true: no stock class"),
    "a cap": ({**PRE, "logit_softcap": 15.0}, "model.logit_softcap = 15.0: no stock class"),
    "several": ({"qk_norm": True, "logit_softcap": 3.0}, "model.qk_norm = true, model.logit_softcap = 3.0: "),
    "rmsnorm with learned positions": (
        {**PRE, "norm_type": "rmsnorm"},
        "model.norm = pre with model.norm_type = rmsnorm and model.position = learned: no stock class",
    ),
    "post-norm with rotary": ({"position": "rotary"}, "model.norm = post with model.norm_type = layernorm and"),
    "a bias too long": ({}, "model.decoder_bias = true: other programs have no such bias, and 11 numbers do not fit"),
    "a bias beside rmsnorm": (
        {**ROTARY, "norm_type": "rmsnorm", "n_embd": 16, "decoder_bias": True},
        "model.decoder_bias = true: other programs have no such bias, and rmsnorm cannot take it over",
    ),
}


def stock(**changes: Any) -> StockModel:
    model = small_language_model(**changes)
    return stock_model(model.params, model.tokenizer.vocab_size, model.transformer.state_dict())


@pytest.mark.parametrize("case", STOCK)
def test_a_model_has_its_class_and_its_sizes_in_the_config(case: str) -> None:
    name, changes = STOCK[case]
    result = stock(n_layer=3, **changes)
    assert (result.class_name, result.config["architectures"]) == (name, [name])
    assert {8, 3, 11} <= {value for value in result.config.values() if type(value) is int}
    tied = bool(changes.get("tie_embeddings")) and not changes.get("scale_embedding", True)
    assert result.config["tie_word_embeddings"] is tied
    assert ({"lm_head.weight", "embed_out.weight"} & result.weights.keys() == set()) is tied
    assert {result.config[f"{token}_token_id"] for token in ("bos", "eos", "pad")} == {None}
    assert all(tensor.is_contiguous() for tensor in result.weights.values())


@pytest.mark.parametrize("case", REFUSED)
def test_what_no_class_holds_is_refused_by_the_names_of_its_settings(case: str) -> None:
    changes, line = REFUSED[case]
    with pytest.raises(ExportError) as error:
        stock(**changes)
    assert str(error.value).startswith(line)
    assert "safetensors" in str(error.value)


def test_every_class_is_for_settings_that_a_model_can_have() -> None:
    assert {chosen.name for chosen in CLASSES.values()} == {name for name, _ in STOCK.values()}
    for norm, norm_type, position in CLASSES:
        model_params(norm=norm, norm_type=norm_type, position=position)


@pytest.mark.parametrize("changes", [{}, {"norm": "pre"}], ids=["post", "pre"])
def test_a_bias_that_fits_goes_into_the_last_norm(changes: dict[str, Any]) -> None:
    model = scramble(small_model(n_embd=16, **changes))
    without = small_model(n_embd=16, decoder_bias=False, **changes)
    without.load_state_dict(without_decoder_bias(model.params, model.state_dict()))
    torch.testing.assert_close(without(batch()), model(batch()), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {**PRE, "activation": "gelu"},
            "model.position = learned, model.activation = gelu: llama.cpp computes the same only with",
        ),
        ({**ROTARY, "activation": "relu2", "qk_norm": True}, "model.qk_norm = true: llama.cpp has no such part"),
        ({**ROTARY, "activation": "relu2", "block_size": 1}, "model.block_size = 1: llama.cpp reads no text of one"),
    ],
)
def test_what_llama_cpp_does_not_compute_is_refused(changes: dict[str, Any], line: str, tmp_path: Path) -> None:
    with pytest.raises(ExportError) as error:
        write_gguf(small_language_model(**changes), tmp_path)
    assert str(error.value).startswith(line)


def test_what_llama_cpp_needs_is_named_at_once(tmp_path: Path) -> None:
    for width, bias in ((8, " -S model.decoder_bias=false"), (16, "")):  # a bias of 11 numbers fits the wider one
        with pytest.raises(ExportError) as error:
            write_gguf(small_language_model(norm_type="rmsnorm", n_embd=width, decoder_bias=True), tmp_path)
        assert f" -S model.activation=relu2{bias}; export onnx or safetensors" in str(error.value)


def test_counts_are_no_part_of_a_graph(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"model\.kneser_ney = 2: counts cannot be a part of an ONNX graph; train"):
        write_onnx(small_language_model(kneser_ney=2, kneser_ney_share=0.3), tmp_path)


def test_a_kind_of_tokenizer_without_a_form_is_refused_by_its_name() -> None:
    class Other(ByteTokenizer):
        kind = "other"

    assert set(FORMS) <= set(KINDS)
    assert len(tokenizer_json(ByteTokenizer())["model"]["vocab"]) == 256
    with pytest.raises(ExportError, match=r"prepare\.tokenizer = other: has no form that other programs read"):
        tokenizer_json(Other())
