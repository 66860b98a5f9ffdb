"""A GPT-2 that another program trained, from the folder that transformers saves to a model file of this project.

Weights come from a safetensors file alone: the older pytorch_model.bin can run code when it is read.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gptmodel.checkpoint.model_file import save_model
from gptmodel.config import ModelParams
from gptmodel.errors import CheckpointError, ConfigError
from gptmodel.files import digest, read_json
from gptmodel.language_model import LanguageModel
from gptmodel.nn.transformer import TransformerModel
from gptmodel.pretrained.gpt2 import DECODER, is_mask, own_params, their_name
from gptmodel.pretrained.safetensors_file import SafetensorsFile
from gptmodel.pretrained.vocabulary import gpt2_tokenizer

CONFIG, WEIGHTS = "config.json", "model.safetensors"
CONFIG_BYTES = 1 << 20
IN_PARTS = 'several files; save it in one, by `model.save_pretrained(folder, max_shard_size="100GB")` of transformers'
PICKLED = "a file that can run code; read it where you trust it, and `model.save_pretrained(folder)` of transformers"
ELSEWHERE = {
    "model.safetensors.index.json": f"its weights are in {IN_PARTS}",
    "pytorch_model.bin": f"its weights are in {PICKLED} writes {WEIGHTS}",
}
"""What else a folder may have in the place of the weights, and what to do about it."""


def import_folder(folder: Path, out: Path) -> LanguageModel:
    """Write the model in a folder to a file that is not there yet, and return it.

    Raises CheckpointError for a folder that is incomplete, damaged or of another model, and ConfigError for a file that
    is there already.
    """
    if out.exists():
        raise ConfigError(f"--out {out}: is there already; name a file that is not, or move it away")
    model = imported_model(folder)
    save_model(out, model, model.provenance)
    return model


def imported_model(folder: Path) -> LanguageModel:
    """Return the model in a folder; CheckpointError as in `import_folder`."""
    config = _config(folder)
    try:
        params = own_params(config)
    except CheckpointError as error:
        raise CheckpointError(f"{folder / CONFIG}: {error}") from None
    if not (folder / WEIGHTS).exists():
        reasons = [f"{folder / name}: {what}" for name, what in ELSEWHERE.items() if (folder / name).exists()]
        raise CheckpointError((reasons or [f"{folder / WEIGHTS}: no such file; name a folder that has it"])[0])
    file = SafetensorsFile(folder / WEIGHTS)
    tokenizer, named_by = gpt2_tokenizer(folder)
    if config.get("vocab_size") != tokenizer.vocab_size:
        raise CheckpointError(
            f"{folder / CONFIG}: vocab_size = {str(config.get('vocab_size'))[:20]}: only GPT-2's own vocabulary of "
            f"{tokenizer.vocab_size} tokens can be imported"
        )
    weights = _own_weights(params, tokenizer.vocab_size, file)
    with torch.random.fork_rng(devices=[]):  # its first weights are thrown away
        transformer = TransformerModel(params, tokenizer.vocab_size)
    transformer.load_state_dict(weights)
    files = [folder / CONFIG, folder / WEIGHTS, *named_by]
    return LanguageModel(transformer.eval(), tokenizer, None, {"imported": {path.name: digest(path) for path in files}})


def _config(folder: Path) -> Mapping[str, Any]:
    path = folder / CONFIG
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: no such folder; name one that has {CONFIG} and {WEIGHTS}")
    try:
        value = read_json(path) if path.stat().st_size <= CONFIG_BYTES else None
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file; name a folder that has it") from None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise CheckpointError(f"{path}: not a JSON object; get it anew")
    return value


def _own_weights(params: ModelParams, vocab_size: int, file: SafetensorsFile) -> dict[str, Tensor]:
    """Return the weights of `file` by their names here; CheckpointError unless it has each, and nothing else."""
    shapes = {_full(name): (name, shape) for name, shape in file.shapes.items()}  # by names that all begin alike
    if len(shapes) < len(file.shapes) or len(shapes) < params.n_layer:  # before so many are built
        raise CheckpointError(f"{file.path}: its weights are not those of n_layer = {params.n_layer} in {CONFIG}")
    with torch.device("meta"):
        planned = TransformerModel(params, vocab_size)
    weights = {}
    for own, parameter in planned.named_parameters():
        full, turned = their_name(own)
        expected = tuple(parameter.shape[::-1] if turned else parameter.shape)
        name, shape = shapes.pop(full, (full, None))
        if shape != expected:
            actual = "is not there" if shape is None else f"has the shape {list(shape)}"
            raise CheckpointError(
                f"{file.path}: {name} {actual}, and {CONFIG} needs {list(expected)}; they do not belong together"
            )
        tensor = file.read(name)
        weights[own] = tensor.t() if turned else tensor
    _check_rest(shapes, weights["encoder.weight"], file)
    return weights


def _full(name: str) -> str:
    """Return a weight's name as newer files have it."""
    return name if name == DECODER or name.startswith("transformer.") else f"transformer.{name}"


def _check_rest(shapes: Mapping[str, tuple[str, tuple[int, ...]]], embedding: Tensor, file: SafetensorsFile) -> None:
    """Pass over the constants, and a copy of the tied matrix; CheckpointError for anything else."""
    for full, (name, _) in shapes.items():
        if full == DECODER and not torch.equal(file.read(name), embedding):
            raise CheckpointError(
                f"{file.path}: {name} differs from wte.weight, although tie_word_embeddings in {CONFIG} is true"
            )
        if full != DECODER and not is_mask(full):
            raise CheckpointError(f"{file.path}: {name[:60]} is no part of what {CONFIG} describes")
