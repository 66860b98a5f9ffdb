"""model.pth: weights, model config, tokenizer and digests in one file that holds nothing volatile and runs no code.

The same training gives the same bytes. The file is written for `torch.load(weights_only=True)`, and read here by
`load_archive`, which is stricter; config, tokenizer and provenance are JSON strings, built one way, since pickle's
output depends on more than the values.
"""

import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from gptmodel.checkpoint.archive import ArchiveError, load_archive
from gptmodel.config import ModelParams
from gptmodel.errors import CheckpointError, DataError
from gptmodel.files import atomic_write, check_ends, json_bytes
from gptmodel.kneser_ney import KneserNey, longest_order
from gptmodel.language_model import LanguageModel
from gptmodel.nn.transformer import TransformerModel
from gptmodel.project.layout import Layout
from gptmodel.tokenizers.kinds import tokenizer_from_json

TABLE_BYTES = 256 << 20
"""What a model may compute at first from its config alone, unless its weights are larger still."""
FORMAT = "gptmodel 1"
KEYS = {"format", "weights", "config", "tokenizer", "provenance", "digest"}
ADDED = {"decoder_bias": True, "qkv_bias": False, "tie_embeddings": False, "attention_dropout": None}
"""Switches that older files lack, each as it is without the switch."""
COUNTS = ("kneser_ney.grams", "kneser_ney.counts")
"""Entries beside the weights that are whole numbers, as many as the training text has distinct n-grams."""


def save_model(path: Path, model: LanguageModel, provenance: Mapping[str, Any]) -> None:
    """Write model.pth, whole or not at all."""
    atomic_write(path, model_bytes(model, provenance))


def model_bytes(model: LanguageModel, provenance: Mapping[str, Any]) -> memoryview:
    """Return the content of model.pth."""
    entries: dict[str, Tensor] = dict(model.transformer.state_dict())
    if model.counts is not None:
        entries |= dict(zip(COUNTS, (model.counts.grams, model.counts.counts), strict=True))
    weights = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in entries.items()}
    texts = {
        "config": json_bytes(model.params.model_dump(mode="json")).decode(),
        "tokenizer": json_bytes(model.tokenizer.to_json()).decode(),
        "provenance": json_bytes(dict(provenance)).decode(),
    }
    buffer = io.BytesIO()  # torch.save puts a file's name into its bytes, but not a buffer's
    torch.save({"format": FORMAT, "weights": weights, **texts, "digest": _digest(weights, texts)}, buffer)
    return buffer.getbuffer()


def load_model(path: Path, device: torch.device | str = "cpu") -> LanguageModel:
    """Read model.pth and check all of it; CheckpointError names the file and what is wrong."""
    content = _read(path)
    weights, texts = content["weights"], {key: content[key] for key in ("config", "tokenizer", "provenance")}
    if _digest(weights, texts) != content["digest"]:
        raise CheckpointError(f"{path}: weights, config and tokenizer do not belong together; train the model again")
    try:
        config = json.loads(texts["config"])
        params = ModelParams.model_validate(ADDED | config if isinstance(config, dict) else config)
        tokenizer = tokenizer_from_json(json.loads(texts["tokenizer"]), str(path))
        provenance = json.loads(texts["provenance"])
    except ValidationError as error:
        fault = error.errors()[0]
        reason = f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"[:200]
        raise CheckpointError(f"{path}: its config is wrong ({reason}); train the model again") from None
    except (DataError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).removeprefix(f"{path}: ").partition("; run ")[0].split())[:200]
        raise CheckpointError(f"{path}: {reason}; train the model again") from None
    transformer, counts = _parts(path, params, tokenizer.vocab_size, weights)
    return LanguageModel(transformer.to(device), tokenizer, counts, provenance if isinstance(provenance, dict) else {})


def _read(path: Path) -> dict[str, Any]:
    try:
        check_ends(path)
        with path.open("rb") as stream:
            content = load_archive(stream)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such model; train one with `dvc repro train`") from None
    except IsADirectoryError:
        own = Layout(path).model  # as below a folder that `train --out` named
        raise CheckpointError(f"{path}: is a folder; name {own if own.is_file() else 'a model file'}") from None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from None
    except ArchiveError as error:
        reason = str(error).split("\n")[0][:120]
        raise CheckpointError(f"{path}: not a model file, or damaged ({reason}); train the model again") from None
    if not isinstance(content, dict) or set(content) != KEYS or content["format"] != FORMAT:
        raise CheckpointError(f"{path}: not a model file of this version ({FORMAT}); train the model again")
    weights = content["weights"]
    if (
        not all(isinstance(content[key], str) for key in KEYS - {"weights"})
        or not isinstance(weights, dict)
        or not all(isinstance(name, str) for name in weights)
        or not all(type(tensor) is Tensor and tensor.dtype == _dtype(name) for name, tensor in weights.items())
        or not all(tensor.layout == torch.strided and tensor.is_contiguous() for tensor in weights.values())
    ):
        raise CheckpointError(f"{path}: damaged: its parts have the wrong types; train the model again")
    if not all(bool(tensor.isfinite().all()) for tensor in weights.values()):
        raise CheckpointError(f"{path}: some of its weights are not finite; train the model again")
    return content


def _parts(
    path: Path, params: ModelParams, vocab_size: int, weights: dict[str, Tensor]
) -> tuple[TransformerModel, KneserNey | None]:
    """Build the model only where the weights in the file prove its sizes: nothing large is allocated on a claim."""
    if params.kneser_ney > longest_order(vocab_size):
        reason = f"n-grams of {params.kneser_ney} are too long for a vocabulary of {vocab_size}"
        raise CheckpointError(f"{path}: its config is wrong ({reason}); train the model again")
    counts = [weights.pop(name) for name in COUNTS if params.kneser_ney and name in weights]
    fits = params.n_layer * params.n_head <= len(weights)
    if fits:
        with torch.device("meta"):
            planned = TransformerModel(params, vocab_size)
        fits = {name: tensor.shape for name, tensor in planned.state_dict().items()} == {
            name: tensor.shape for name, tensor in weights.items()
        }
    if not fits or len(counts) != (2 if params.kneser_ney else 0) or any(entry.dim() != 1 for entry in counts):
        raise CheckpointError(f"{path}: its weights do not match its config; train the model again")
    tables = sum(table.nbytes for table in planned.buffers())
    if tables > max(TABLE_BYTES, sum(tensor.nbytes for tensor in weights.values())):
        raise CheckpointError(f"{path}: block_size = {params.block_size} in its config is too large for its weights")
    with torch.random.fork_rng(devices=[]):
        transformer = TransformerModel(params, vocab_size)
    transformer.load_state_dict(weights)
    if not counts:
        return transformer.eval(), None
    try:
        return transformer.eval(), KneserNey(params.kneser_ney, vocab_size, params.kneser_ney_share, *counts)
    except ValueError as error:
        raise CheckpointError(f"{path}: its counts are wrong ({error}); train the model again") from None


def _dtype(name: str) -> torch.dtype:
    return torch.int64 if name in COUNTS else torch.float32


def _digest(weights: dict[str, Tensor], texts: Mapping[str, str]) -> str:
    sha = hashlib.sha256()
    for key in sorted(texts):
        sha.update(f"{key} {len(texts[key])}\n{texts[key]}".encode())
    for name in sorted(weights):
        tensor = weights[name]
        sha.update(f"{name} {tuple(tensor.shape)}\n".encode())
        sha.update(tensor.numpy().tobytes())
    return sha.hexdigest()
