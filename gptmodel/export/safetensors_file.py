"""The model as it is, for programs that build it themselves: weights by their names here, config and tokenizer."""

import json
from pathlib import Path

import torch
from torch import Tensor

from gptmodel.checkpoint.model_file import COUNTS
from gptmodel.config import ModelParams
from gptmodel.export.form import Form
from gptmodel.export.libraries import require
from gptmodel.files import atomic_write, write_json
from gptmodel.kneser_ney import KneserNey
from gptmodel.language_model import LanguageModel
from gptmodel.nn.transformer import TransformerModel
from gptmodel.tokenizers.kinds import load_tokenizer, save_tokenizer

LIBRARIES = ("safetensors",)
WEIGHTS, CONFIG, TOKENIZER = "model.safetensors", "config.json", "tokenizer.json"


def write(model: LanguageModel, folder: Path) -> str:
    """Write any model into an empty folder."""
    require(LIBRARIES)
    from safetensors.torch import save

    weights = dict(model.transformer.state_dict())
    if model.counts is not None:
        weights |= dict(zip(COUNTS, (model.counts.grams, model.counts.counts), strict=True))
    content = save({name: tensor.contiguous() for name, tensor in weights.items()}, {"format": "pt"})
    atomic_write(folder / WEIGHTS, content)
    write_json(folder / CONFIG, model.params.model_dump(mode="json"))
    save_tokenizer(folder / TOKENIZER, model.tokenizer)
    return TransformerModel.__name__


def logits(folder: Path, idx: Tensor) -> tuple[Tensor, int]:
    """Return the logits (B, T, V) of idx (B, T) by a new model with the weights of the folder, from position 0 on."""
    from safetensors.torch import load_file

    weights = load_file(folder / WEIGHTS)
    params = ModelParams.model_validate(json.loads((folder / CONFIG).read_bytes()))
    tokenizer = load_tokenizer(folder / TOKENIZER)
    counts = [weights.pop(name) for name in COUNTS if params.kneser_ney]
    with torch.random.fork_rng(devices=[]):  # its first weights are thrown away
        transformer = TransformerModel(params, tokenizer.vocab_size)
    transformer.load_state_dict(weights)
    mixed = KneserNey(params.kneser_ney, tokenizer.vocab_size, params.kneser_ney_share, *counts) if counts else None
    model = LanguageModel(transformer.eval(), tokenizer, mixed)
    with torch.inference_mode():
        return torch.cat([model.predict(text[None]) for text in idx]), 0  # as the certificate has it, to the bit


USE = 'from safetensors.torch import load_file; weights = load_file("{folder}/model.safetensors")'
FORM = Form(LIBRARIES, USE, write, logits)
