"""model.pth: weights, model config, tokenizer and digests in one file that holds nothing volatile and runs no code.

The same training gives the same bytes. The file is written for `torch.load(weights_only=True)`, and read here by
`load_archive`, which is stricter; config, tokenizer and provenance are JSON strings, built one way, since pickle's
output depends on more than the values.
"""

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from gptmodel.checkpoint.archive import ArchiveError, load_archive
from gptmodel.config import ModelParams
from gptmodel.errors import CheckpointError, DataError
from gptmodel.files import atomic_write, json_bytes
from gptmodel.kneser_ney import COUNTED
from gptmodel.nn.transformer import TransformerModel
from gptmodel.tokenizers.base import Tokenizer
from gptmodel.tokenizers.kinds import tokenizer_from_json

TABLE_BYTES = 256 << 20
"""What a model may compute at first from its config alone, unless its weights are larger still."""
FORMAT = "gptmodel 1"
KEYS = {"format", "weights", "config", "tokenizer", "provenance", "digest"}


@dataclass(frozen=True)
class Checkpoint:
    """A trained model with all that is needed to use it."""

    model: TransformerModel
    tokenizer: Tokenizer
    provenance: dict[str, Any]  # digests of the data it was trained on, platform fingerprint, iterations

    def check_tokenizer(self, tokenizer: Tokenizer, folder: Path) -> None:
        """Raise CheckpointError unless the token ids in `folder` mean what the model learnt."""
        if tokenizer.digest != self.tokenizer.digest:
            raise CheckpointError(
                f"the model was trained with another tokenizer than that of {folder}: run `dvc repro`"
            )


def save_checkpoint(path: Path, model: TransformerModel, tokenizer: Tokenizer, provenance: Mapping[str, Any]) -> None:
    """Write model.pth, whole or not at all."""
    atomic_write(path, checkpoint_bytes(model, tokenizer, provenance))


def checkpoint_bytes(model: TransformerModel, tokenizer: Tokenizer, provenance: Mapping[str, Any]) -> memoryview:
    """Return the content of model.pth."""
    weights = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in model.state_dict().items()}
    texts = {
        "config": json_bytes(model.params.model_dump(mode="json")).decode(),
        "tokenizer": json_bytes(tokenizer.to_json()).decode(),
        "provenance": json_bytes(dict(provenance)).decode(),
    }
    buffer = io.BytesIO()  # torch.save puts a file's name into its bytes, but not a buffer's
    torch.save({"format": FORMAT, "weights": weights, **texts, "digest": _digest(weights, texts)}, buffer)
    return buffer.getbuffer()


def load_checkpoint(path: Path, device: torch.device | str = "cpu") -> Checkpoint:
    """Read model.pth and check all of it; CheckpointError names the file and what is wrong."""
    content = _read(path)
    weights, texts = content["weights"], {key: content[key] for key in ("config", "tokenizer", "provenance")}
    if _digest(weights, texts) != content["digest"]:
        raise CheckpointError(f"{path}: weights, config and tokenizer do not belong together; train the model again")
    try:
        params = ModelParams.model_validate_json(texts["config"])
        tokenizer = tokenizer_from_json(json.loads(texts["tokenizer"]), str(path))
        provenance = json.loads(texts["provenance"])
    except ValidationError as error:
        fault = error.errors()[0]
        reason = f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"[:200]
        raise CheckpointError(f"{path}: its config is wrong ({reason}); train the model again") from None
    except (DataError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).removeprefix(f"{path}: ").partition("; run ")[0].split())[:200]
        raise CheckpointError(f"{path}: {reason}; train the model again") from None
    model = _model(path, params, tokenizer.vocab_size, weights)
    return Checkpoint(model.to(device), tokenizer, provenance if isinstance(provenance, dict) else {})


def _read(path: Path) -> dict[str, Any]:
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            raise CheckpointError(f"{path}: cannot be read: it is a device or a pipe, and not a file")
        with path.open("rb") as stream:
            content = load_archive(stream)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such model; train one with `dvc repro train`") from None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from None
    except ArchiveError as error:
        reason = str(error).split("\n")[0][:120]
        raise CheckpointError(f"{path}: not a model file, or damaged ({reason}); train the model again") from None
    if not isinstance(content, dict) or set(content) != KEYS or content["format"] != FORMAT:
        raise CheckpointError(f"{path}: not a model of this version of gptmodel ({FORMAT}); train the model again")
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
        raise CheckpointError(f"{path}: its weights are not all numbers; train the model again")
    return content


def _model(path: Path, params: ModelParams, vocab_size: int, weights: dict[str, Tensor]) -> TransformerModel:
    """Build the model only where the weights in the file prove its sizes: nothing large is allocated on a claim."""
    fits = params.n_layer * params.n_head <= len(weights)
    if fits:
        try:
            with torch.device("meta"):
                planned = TransformerModel(params, vocab_size)
        except ValueError as error:
            raise CheckpointError(f"{path}: its config is wrong ({error}); train the model again") from None
        fits = _sizes(planned.state_dict()) == _sizes(weights)
    if not fits:
        raise CheckpointError(f"{path}: its weights are not those of its config; train the model again")
    tables = sum(table.nbytes for table in planned.buffers())
    if tables > max(TABLE_BYTES, sum(tensor.nbytes for tensor in weights.values())):
        raise CheckpointError(f"{path}: block_size = {params.block_size} in its config is too large for its weights")
    with torch.random.fork_rng(devices=[]):
        model = TransformerModel(params, vocab_size)
    try:
        model.load_state_dict(weights)
    except ValueError as error:
        raise CheckpointError(f"{path}: its counts are wrong ({error}); train the model again") from None
    return model.eval()


def _dtype(name: str) -> torch.dtype:
    return torch.int64 if name in COUNTED else torch.float32


def _sizes(weights: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Return the shape of each entry, or the number of its dimensions where the text decides its size."""
    return {name: (tensor.dim(),) if name in COUNTED else tuple(tensor.shape) for name, tensor in weights.items()}


def _digest(weights: dict[str, Tensor], texts: Mapping[str, str]) -> str:
    sha = hashlib.sha256()
    for key in sorted(texts):
        sha.update(f"{key} {len(texts[key])}\n{texts[key]}".encode())
    for name in sorted(weights):
        tensor = weights[name]
        sha.update(f"{name} {tuple(tensor.shape)}\n".encode())
        sha.update(tensor.numpy().tobytes())
    return sha.hexdigest()
