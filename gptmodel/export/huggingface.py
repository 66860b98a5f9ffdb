"""The folder that transformers loads without code of ours: config, weights and tokenizer of a stock class."""

from pathlib import Path

import torch
from torch import Tensor

from gptmodel.export.form import Form
from gptmodel.export.libraries import require
from gptmodel.export.stock import stock_model
from gptmodel.export.tokenizer_json import tokenizer_json
from gptmodel.files import atomic_write, write_json
from gptmodel.language_model import LanguageModel

LIBRARIES = ("transformers", "safetensors")


def write(model: LanguageModel, folder: Path) -> str:
    """Write a model into an empty folder; return the name of its class. ExportError for one that no class holds."""
    params, tokenizer = model.params, model.tokenizer
    stock = stock_model(params, tokenizer.vocab_size, model.transformer.state_dict())
    words = tokenizer_json(tokenizer)
    require(LIBRARIES)
    from safetensors.torch import save

    # one tokenizer class reads any tokenizer.json, under this name in old and new versions
    reader = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    write_json(folder / "config.json", stock.config)
    write_json(folder / "generation_config.json", {"use_cache": True})
    write_json(folder / "tokenizer.json", words, in_order=True)
    write_json(folder / "tokenizer_config.json", {**reader, "model_max_length": params.block_size})
    atomic_write(folder / "model.safetensors", save(stock.weights, {"format": "pt"}))
    return stock.class_name


def logits(folder: Path, idx: Tensor) -> tuple[Tensor, int]:
    """Return the logits (B, T, V) of idx (B, T), computed by what loads the folder, from position 0 on."""
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True).eval()
    with torch.inference_mode():
        return model(input_ids=idx, attention_mask=torch.ones_like(idx)).logits, 0


def token_ids(folder: Path, text: str) -> list[int]:
    """Return the ids of a text by the folder's tokenizer."""
    from transformers import AutoTokenizer

    ids: list[int] = AutoTokenizer.from_pretrained(folder, local_files_only=True)(text)["input_ids"]
    return ids


USE = 'from transformers import AutoModelForCausalLM; model = AutoModelForCausalLM.from_pretrained("{folder}")'
FORM = Form(LIBRARIES, USE, write, logits, token_ids)
