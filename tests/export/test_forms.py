"""ONNX, GGUF and safetensors, as ONNX Runtime, llama.cpp and the library safetensors read them back."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from export_helpers import PRE, ROTARY, needs, small_language_model
from model_helpers import batch
from torch import Tensor

from gptmodel.errors import ExportError
from gptmodel.export import gguf_file, onnx_file, safetensors_file
from gptmodel.export.bundle import certified
from gptmodel.export.certificate import Certificate
from gptmodel.export.form import Form
from gptmodel.export.weights import ModelWeights
from gptmodel.language_model import LanguageModel
from gptmodel.tokenizers.byte import ByteTokenizer

pytestmark = pytest.mark.export
LLAMA = {**ROTARY, "activation": "relu2"}
EVERYTHING: dict[str, Any] = {  # that a graph can have
    **ROTARY,
    "norm_type": "rmsnorm",
    "activation": "gelu_tanh",
    "qkv_bias": True,
    "tie_embeddings": True,
    "qk_norm": True,
    "logit_softcap": 3.0,
    "ngram_orders": [2, 3],
}


def exported(form: Form, model: LanguageModel, folder: Path) -> Certificate:
    needs(*form.libraries)
    folder.mkdir(exist_ok=True)
    form.write(model, folder)
    return certified(model, form, folder)


def check_that_a_shift_shows(form: Form, model: LanguageModel, folder: Path) -> None:
    """A number that is added to all logits changes no probability."""

    def shifted(folder: Path, idx: Tensor) -> tuple[Tensor, int]:
        logits, first = form.logits(folder, idx)
        return logits + 0.01, first

    with pytest.raises(
        ExportError, match=r"as read back, logits differ by at most 1\.0e-02 .* (\d+) of \1 greedy tokens"
    ):
        certified(model, replace(form, logits=shifted), folder)


@pytest.mark.parametrize("case", [EVERYTHING, {}], ids=["everything", "default"])
def test_a_graph_computes_the_same_for_texts_of_any_number_and_length(case: dict[str, Any], tmp_path: Path) -> None:
    model = small_language_model(**case)
    certificate = exported(onnx_file.FORM, model, tmp_path)
    assert certificate.largest_difference < 1e-5
    assert certificate.greedy_tokens_same == certificate.greedy_tokens
    check_that_a_shift_shows(onnx_file.FORM, model, tmp_path)
    for B, T in ((1, 1), (3, 5), (2, 8)):
        logits, _ = onnx_file.logits(tmp_path, batch(B, T))
        torch.testing.assert_close(logits, model.predict(batch(B, T)).detach(), rtol=0, atol=1e-5)
    content = (tmp_path / "model.onnx").read_bytes()
    assert b"site-packages" not in content
    assert b"transformer.py" not in content


@pytest.mark.parametrize(
    ("tokenizer", "changes"), [(None, {}), (ByteTokenizer(), {"qkv_bias": True, "tie_embeddings": True})]
)
def test_llama_cpp_computes_the_same(tokenizer: ByteTokenizer | None, changes: dict[str, Any], tmp_path: Path) -> None:
    model = small_language_model(tokenizer, **LLAMA, **changes)
    for name in ("one", "other"):
        certificate = exported(gguf_file.FORM, model, tmp_path / name)
        assert certificate.compared == "log-probabilities"
        assert certificate.largest_difference < 1e-5
        assert certificate.greedy_tokens_same == certificate.greedy_tokens == 32
    assert (tmp_path / "one/model.gguf").read_bytes() == (tmp_path / "other/model.gguf").read_bytes()
    text = "a d€\n😀z" if tokenizer is None else "any téxt 😀\0"
    assert gguf_file.token_ids(tmp_path / "one", text) == model.tokenizer.encode(text)


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("_rotating", lambda model, n, part: model._heads(n, part)),
        ("query", lambda model, n: model.key(n)),
        ("embedding", property(lambda model: model._state["encoder.weight"])),
    ],
    ids=["pairs not put into halves", "query and key exchanged", "the scale left out"],
)
def test_a_mistake_in_the_mapping_shows_in_llama_cpp(
    name: str, other: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ModelWeights, name, other)
    with pytest.raises(ExportError, match=r"as read back, log-probabilities differ by at most .*: more than 1e-04"):
        exported(gguf_file.FORM, small_language_model(**LLAMA), tmp_path)


@pytest.mark.parametrize(
    "case", [{}, {**EVERYTHING, "kneser_ney": 3, "kneser_ney_share": 0.3}], ids=["default", "everything"]
)
def test_safetensors_holds_any_model_to_the_bit(case: dict[str, Any], tmp_path: Path) -> None:
    model = small_language_model(**case)
    for name in ("one", "other"):
        certificate = exported(safetensors_file.FORM, model, tmp_path / name)
        assert certificate.largest_difference == 0.0
    check_that_a_shift_shows(safetensors_file.FORM, model, tmp_path / "one")
    for file in ("model.safetensors", "config.json", "tokenizer.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "other" / file).read_bytes()


def test_a_block_of_one_token_is_exported_too(tmp_path: Path) -> None:
    certificate = exported(safetensors_file.FORM, small_language_model(block_size=1, **PRE), tmp_path)
    assert certificate.greedy_tokens == 8
