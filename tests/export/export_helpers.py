"""What the tests of exports share: the settings that each class holds, small models with them, and their files."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest
from model_helpers import language_model, scramble, small_model

from gptmodel.checkpoint.model_file import save_model
from gptmodel.language_model import LanguageModel
from gptmodel.tokenizers.base import Tokenizer
from gptmodel.tokenizers.char import CharTokenizer

CHARACTERS = "abcdé€ \n\t😀z"
PRE: dict[str, Any] = {"norm": "pre", "decoder_bias": False}
ROTARY: dict[str, Any] = {**PRE, "position": "rotary"}
TIED: dict[str, Any] = {"qkv_bias": True, "tie_embeddings": True, "scale_embedding": False}
GPT2: dict[str, Any] = {**PRE, **TIED, "activation": "gelu_tanh"}
STOCK: dict[str, tuple[str, dict[str, Any]]] = {
    "learned": ("GPT2LMHeadModel", {**PRE, "activation": "gelu", "scale_embedding": False}),
    "GPT-2 itself": ("GPT2LMHeadModel", GPT2),
    "no positions": ("GPT2LMHeadModel", {**PRE, "position": "none", "activation": "relu2"}),
    "rotary": ("GPTNeoXForCausalLM", {**ROTARY, "activation": "gelu"}),
    "rotary, biases": ("GPTNeoXForCausalLM", {**ROTARY, **TIED, "activation": "gelu_tanh"}),
    "rmsnorm": ("ArceeForCausalLM", {**ROTARY, "norm_type": "rmsnorm", "activation": "relu2"}),
    "rmsnorm, biases": ("ArceeForCausalLM", {**ROTARY, **TIED, "norm_type": "rmsnorm", "activation": "gelu_tanh"}),
    "post-norm": ("OPTForCausalLM", {"decoder_bias": False}),
    "post-norm, biases": ("OPTForCausalLM", {**TIED, "decoder_bias": False, "activation": "gelu_tanh"}),
    "one matrix, scaled": ("OPTForCausalLM", {"decoder_bias": False, "tie_embeddings": True}),
    "the tutorial": ("OPTForCausalLM", {"position": "none", "n_embd": 16}),
    "a bias that fits": ("GPTNeoXForCausalLM", {**ROTARY, "n_embd": 16, "decoder_bias": True}),
}
"""What each class is for; the last two have a decoder bias, and room for it."""


def small_language_model(tokenizer: Tokenizer | None = None, **changes: Any) -> LanguageModel:
    """A small model in eval mode, every weight of it random."""
    tokenizer = tokenizer or CharTokenizer(CHARACTERS)
    transformer = scramble(small_model(vocab_size=tokenizer.vocab_size, **changes)).eval()
    return language_model(transformer, tokenizer=tokenizer)


def model_file(folder: Path, model: LanguageModel) -> Path:
    save_model(folder / "model.pth", model, {})
    return folder / "model.pth"


def needs(*libraries: str) -> None:
    """Skip the test, naming the first library that is missing."""
    for name in libraries:
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed: pip install -r requirements-export.txt")
