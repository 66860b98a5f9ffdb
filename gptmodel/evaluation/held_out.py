"""The held-out text of a project as a model reads it, and whether the model held it out as well."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gptmodel.data.prepared import TOKENIZER, VAL, PreparedData
from gptmodel.data.tokens import token_writer
from gptmodel.errors import DataError
from gptmodel.evaluation.spans import mark_of, read_losses
from gptmodel.files import digest
from gptmodel.language_model import LanguageModel
from gptmodel.tokenizers.base import Ids


def held_out_ids(model: LanguageModel, data: PreparedData) -> NDArray[np.unsignedinteger]:
    """Return the ids of the val split in the model's own tokens; DataError where it does not know a character."""
    if model.tokenizer.digest == data.tokenizer.digest:
        return data.val.ids
    ids: Ids = model.tokenizer.encode_array(data.tokenizer.decode(data.val.ids))
    return ids


def held_out_digests(model: LanguageModel) -> tuple[str, str] | None:
    """Return the digests of the tokenizer and of the val split that the model was trained with, if it tells."""
    recorded = model.provenance.get("data")
    if not isinstance(recorded, Mapping) or not {TOKENIZER, VAL} <= recorded.keys():
        return None
    return str(recorded[TOKENIZER]), str(recorded[VAL])


def written_losses(path: Path | None, model_file: Path, model: LanguageModel) -> NDArray[np.float32] | None:
    """Return the losses that evaluate wrote there; None unless they are of this model on its own held-out text."""
    recorded = held_out_digests(model)
    return read_losses(path, mark_of(model_file, recorded[1])) if path is not None and recorded is not None else None


def is_held_out(model: LanguageModel, data: PreparedData) -> bool:
    """Tell whether the model's own val split is the text of this one, whatever the tokens of both.

    The val text in the model's tokens has to give the very file that the model was trained beside.
    """
    recorded = held_out_digests(model)
    if recorded is None:
        return False
    if model.tokenizer.digest == data.tokenizer.digest:
        return recorded[1] == data.digests()[VAL]
    try:
        ids = held_out_ids(model, data)
    except DataError:
        return False
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / VAL
        with token_writer(path, model.tokenizer.vocab_size, model.tokenizer.digest) as writer:
            writer.append(ids)
        return digest(path) == recorded[1]
