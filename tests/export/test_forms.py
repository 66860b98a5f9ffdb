"""ONNX, GGUF and safetensors, as ONNX Runtime, llama.cpp and the library safetensors read them back."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from export_helpers import PRE, ROTARY, needs, small_language_model
from mapping_mistakes import MISTAKES, PRE_NORM, ROTATING, WHOLE
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
LLAMA_WHOLE = {**LLAMA, **WHOLE}
LLAMA_MISTAKES = MISTAKES | PRE_NORM | ROTATING
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


@pytest.mark.parametrize(
    "case",
    [
        pytest.param({**EVERYTHING, "n_layer": 1}, id="everything"),
        pytest.param({}, id="default", marks=pytest.mark.slow),
    ],
)
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
    ("tokenizer", "changes"),
    [(None, {}), (None, WHOLE), (ByteTokenizer(), {"qkv_bias": True, "tie_embeddings": True})],
    ids=["char", "char, biases", "byte"],
)
def test_llama_cpp_computes_the_same(tokenizer: ByteTokenizer | None, changes: dict[str, Any], tmp_path: Path) -> None:
    model = small_language_model(tokenizer, **{**LLAMA, **changes})
    for name in ("one", "other"):
        certificate = exported(gguf_file.FORM, model, tmp_path / name)
        assert certificate.compared == "log-probabilities"
        assert certificate.largest_difference < 1e-5
        assert certificate.greedy_tokens_same == certificate.greedy_tokens == 32
    assert (tmp_path / "one/model.gguf").read_bytes() == (tmp_path / "other/model.gguf").read_bytes()
    text = "a d€\n😀z" if tokenizer is None else "any téxt 😀\0"
    assert gguf_file.token_ids(tmp_path / "one", text) == model.tokenizer.encode(text)


@pytest.mark.parametrize("mistake", LLAMA_MISTAKES)
def test_a_mistake_in_the_weights_shows_in_llama_cpp(
    mistake: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ModelWeights, *LLAMA_MISTAKES[mistake])
    with pytest.raises(ExportError, match=r"as read back, log-probabilities differ by at most .*: more than 1e-04"):
        exported(gguf_file.FORM, small_language_model(**LLAMA_WHOLE), tmp_path)


@pytest.mark.parametrize(
    ("key", "value"),
    [("head_count", 1), ("layer_norm_eps", 0.1), ("rope_dimension_count", 2), ("rope_freq_base", 500.0)],
)
def test_another_value_in_the_file_shows_in_llama_cpp(
    key: str, value: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs(*gguf_file.LIBRARIES)
    from gguf import GGUFWriter

    add = getattr(GGUFWriter, f"add_{key}")
    monkeypatch.setattr(GGUFWriter, f"add_{key}", lambda writer, _: add(writer, value))
    if key == "head_count":
        monkeypatch.setattr(GGUFWriter, "add_head_count_kv", lambda _writer, _: None)  # as many, then
    with pytest.raises(ExportError, match="as read back, log-probabilities differ by at most"):
        exported(gguf_file.FORM, small_language_model(**LLAMA_WHOLE), tmp_path)


@pytest.mark.parametrize(
    ("architecture", "line"), [("starcoder2", "log-probabilities differ"), ("gptneox", "llama.cpp does not read")]
)
def test_another_architecture_shows_in_llama_cpp(
    architecture: str, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gguf_file, "ARCHITECTURE", architecture)
    with pytest.raises(ExportError, match=line):
        exported(gguf_file.FORM, small_language_model(**LLAMA_WHOLE), tmp_path)


def test_another_token_in_the_file_shows_in_llama_cpp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs(*gguf_file.LIBRARIES)
    from gguf import GGUFWriter

    add = GGUFWriter.add_token_list
    monkeypatch.setattr(GGUFWriter, "add_token_list", lambda writer, tokens: add(writer, tokens[::-1]))
    with pytest.raises(ExportError, match="as read back, the tokenizer gives other token ids"):
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
