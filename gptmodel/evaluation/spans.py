"""The loss of a text by spans of 256 bytes: what models of different tokenizers and block sizes have in common.

evaluation/val_losses.npy holds it of the val split: float32 nats, shape (spans,); span i begins at byte 256 i of the
split, and the last one may be shorter. A token counts where its first byte stands. A span that was not scored whole is
NaN; the first token of a split, which has nothing before it, costs nothing.
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from gptmodel.compute.place import Place
from gptmodel.data.batches import evaluation_batches
from gptmodel.errors import DataError
from gptmodel.evaluation.loss import TOKENS_AT_ONCE
from gptmodel.language_model import LanguageModel

SPAN_BYTES = 256


def token_losses(model: LanguageModel, ids: NDArray[np.integer], place: Place) -> NDArray[np.float32]:
    """Return the nats of each token but the first, (n - 1,), in consecutive blocks of the model's block_size."""
    block_size = model.params.block_size

    @torch.no_grad()
    def scored(batch: tuple[Tensor, Tensor]) -> NDArray[np.float32]:
        idx, targets = batch
        logits = model.predict(idx).flatten(0, 1)  # (B * T, V)
        nats: NDArray[np.float32] = F.cross_entropy(logits, targets.flatten(), reduction="none").cpu().numpy()
        return nats

    batches = evaluation_batches(ids, max(1, TOKENS_AT_ONCE // block_size), block_size, None, place.device)
    return np.concatenate(list(place.crew.map(scored, batches)))


def span_losses(nats: NDArray[np.floating], lengths: NDArray[np.int64]) -> NDArray[np.float32]:
    """Sum the nats of each token, (n,), over the spans of the text; `lengths` are the bytes of each token, (n,)."""
    starts = np.cumsum(lengths) - lengths  # (n,) where each token begins
    spans = -(-int(lengths.sum()) // SPAN_BYTES)
    return np.bincount(starts // SPAN_BYTES, weights=nats, minlength=spans).astype(np.float32)


def val_losses(model: LanguageModel, ids: NDArray[np.integer], place: Place) -> NDArray[np.float32]:
    """Score a split and return the nats of each of its spans."""
    nats = np.concatenate((np.zeros(1, np.float32), token_losses(model, ids, place)))  # (n,)
    return span_losses(nats, model.tokenizer.byte_lengths()[ids])


def read_losses(path: Path) -> NDArray[np.float32]:
    """Read val_losses.npy; DataError where it is not what evaluate writes."""
    try:
        losses = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path}: no losses of a text ({str(error)[:100]}); run `dvc repro evaluate` again") from None
    if not isinstance(losses, np.ndarray) or losses.dtype != np.float32 or losses.ndim != 1:
        raise DataError(f"{path}: no losses of a text; run `dvc repro evaluate` again")
    return losses
