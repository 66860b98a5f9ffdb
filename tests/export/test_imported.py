"""A GPT-2 that transformers itself wrote, imported and exported again: the same logits all the way."""

import json
from functools import cache
from pathlib import Path

import pytest
import torch
from export_helpers import needs
from model_helpers import batch
from tokenizer_helpers import need_gpt2

from gptmodel.export import huggingface
from gptmodel.export.bundle import export
from gptmodel.export.tokenizer_json import tokenizer_json
from gptmodel.pretrained.folder import import_folder
from gptmodel.pretrained.safetensors_file import SafetensorsFile
from gptmodel.tokenizers.gpt2 import Gpt2Tokenizer, learnt_tokens

pytestmark = pytest.mark.export


@cache
def tokenizer_words() -> str:
    return json.dumps(tokenizer_json(Gpt2Tokenizer(learnt_tokens())))


@pytest.mark.parametrize("tied", [pytest.param(True, marks=pytest.mark.slow), False])
def test_there_and_back_again(tied: bool, tmp_path: Path) -> None:
    needs(*huggingface.LIBRARIES)
    need_gpt2()
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    theirs, own, back = tmp_path / "theirs", tmp_path / "own.pth", tmp_path / "back"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        config = GPT2Config(n_positions=12, n_embd=16, n_layer=2, n_head=2, tie_word_embeddings=tied)
        model = GPT2LMHeadModel(config).eval()
        with torch.no_grad():
            for weight in model.parameters():
                weight.normal_(0.1, 0.4)
    model.save_pretrained(theirs)
    words = tmp_path / "words.json"
    words.write_text(tokenizer_words(), encoding="utf-8")
    PreTrainedTokenizerFast(tokenizer_file=str(words)).save_pretrained(theirs)

    imported = import_folder(theirs, own)
    idx = batch(3, 12, imported.tokenizer.vocab_size)
    with torch.inference_mode():
        expected = model(idx).logits
    assert expected.std() > 0.3
    torch.testing.assert_close(imported.predict(idx).detach(), expected, rtol=0, atol=1e-5)
    bundle = export(own, "huggingface", back)
    assert bundle.kind == "GPT2LMHeadModel"
    assert bundle.certificate.largest_difference < 1e-5
    torch.testing.assert_close(huggingface.logits(back, idx)[0], expected, rtol=0, atol=1e-5)
    one, other = (SafetensorsFile(folder / "model.safetensors") for folder in (theirs, back))
    assert one.shapes == other.shapes
    assert all(torch.equal(one.read(name), other.read(name)) for name in one.shapes)
    assert import_folder(back, tmp_path / "again.pth").params == imported.params
