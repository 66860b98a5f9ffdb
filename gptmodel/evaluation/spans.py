"""The loss of a text by spans of 256 bytes: what models of different tokenizers and block sizes have in common.

evaluation/val_losses.npy holds it of the val split: float32 nats, shape (spans,); span i begins at byte 256 i of the
split, and the last one may be shorter. A token counts where its first byte stands. A span that was not scored whole is
NaN; the first token of a split, which has nothing before it, costs nothing. Behind the array, where numpy reads no
more, stands the mark of the model and the split: a file's time does not tell whose losses they are.
"""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from gptmodel.compute.place import Place
from gptmodel.data.prepared import bits_per_byte
from gptmodel.errors import DataError
from gptmodel.evaluation.loss import over_blocks
from gptmodel.files import atomic_writer, check_ends, digest, fingerprint
from gptmodel.language_model import LanguageModel
from gptmodel.tokenizers.base import Tokenizer

SPAN_BYTES = 256
HEADER_BYTES = 128  # before the losses in val_losses.npy
PASSAGES = 10  # that are shown of each kind
CHUNK_TOKENS = 1 << 20


def token_losses(model: LanguageModel, ids: NDArray[np.integer], place: Place) -> NDArray[np.float32]:
    """Return the nats of each token but the first, (n - 1,), in consecutive blocks of the model's block_size."""

    def work(idx: Tensor, targets: Tensor) -> NDArray[np.float32]:
        logits = model.predict(idx).flatten(0, 1)  # (B * T, V)
        nats: NDArray[np.float32] = F.cross_entropy(logits, targets.flatten(), reduction="none").cpu().numpy()
        return nats

    return np.concatenate(over_blocks(model.transformer, work, ids, model.params.block_size, place, None))


def span_losses(
    nats: NDArray[np.floating], ids: NDArray[np.integer], lengths: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Sum the nats of the ids, (n,) both, over the spans of the text; `lengths` are the bytes of each token, (V,)."""
    return _spans(nats, ids, lengths)[0]


def val_losses(model: LanguageModel, ids: NDArray[np.integer], place: Place) -> NDArray[np.float32]:
    """Score a split and return the nats of each of its spans."""
    nats = np.concatenate((np.zeros(1, np.float32), token_losses(model, ids, place)))  # (n,)
    return span_losses(nats, ids, model.tokenizer.byte_lengths())


def passages(
    nats: NDArray[np.floating], ids: NDArray[np.integer], tokenizer: Tokenizer
) -> dict[str, list[dict[str, Any]]]:
    """Return the spans of least and of most loss, of those that were scored whole: evaluation/passages.json.

    `nats` are those of each of the ids, (n,). A passage has its first byte, its bits per byte, and its tokens as text
    with the nats of each. The first span has a token that costs nothing, and the last may be short: neither counts.
    """
    lengths = tokenizer.byte_lengths()  # (V,)
    sums, tokens, sizes = _spans(nats, ids, lengths)
    losses, ends, begins = sums[1:-1], np.cumsum(tokens), np.cumsum(sizes) - sizes
    order = np.argsort(losses, kind="stable")[: np.isfinite(losses).sum()] + 1  # what is not a number comes last

    def passage(span: int) -> dict[str, Any]:
        first, end = int(ends[span] - tokens[span]), int(ends[span])
        stream = tokenizer.stream()
        return {
            "byte": int(begins[span]),
            "bits_per_byte": round(bits_per_byte(float(nats[first:end].sum()), int(sizes[span])), 4),
            "tokens": [stream.push(int(idx)) for idx in ids[first:end]],
            "nats": [round(float(loss), 4) for loss in nats[first:end]],
        }

    easiest, hardest = order[:PASSAGES], order[::-1][:PASSAGES]
    return {"hardest": [passage(span) for span in hardest], "easiest": [passage(span) for span in easiest]}


def _spans(
    nats: NDArray[np.floating], ids: NDArray[np.integer], lengths: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
    """Return for each span the nats of the tokens that begin in it, how many they are, and their bytes, (spans,) each.

    The ids are taken in chunks: the place of each token would be several times as large as they are.
    """
    parts = [slice(start, start + CHUNK_TOKENS) for start in range(0, len(ids), CHUNK_TOKENS)]
    spans = -(-sum(int(lengths[ids[part]].sum()) for part in parts) // SPAN_BYTES)
    sums, tokens, sizes, read = np.zeros(spans), np.zeros(spans, np.int64), np.zeros(spans, np.int64), 0
    for part in parts:
        of_each = lengths[ids[part]]  # (c,)
        ends = read + np.cumsum(of_each)  # (c,)
        span = (ends - of_each) // SPAN_BYTES  # (c,) where each token begins
        first, read = int(span[0]), int(ends[-1])
        for target, weights in ((sums, nats[part]), (tokens, None), (sizes, of_each)):
            counted = np.bincount(span - first, weights)
            target[first : first + len(counted)] += counted.astype(target.dtype)
    return sums.astype(np.float32), tokens, sizes


def mark_of(model_file: Path, val_sha256: str) -> str:
    """Return the mark of the losses of a model on a split."""
    return fingerprint({"model": digest(model_file), "val": val_sha256})


def write_losses(path: Path, losses: NDArray[np.float32], mark: str) -> None:
    """Write val_losses.npy, whole or not at all."""
    with atomic_writer(path) as stream:
        np.save(stream, losses, allow_pickle=False)
        stream.write(mark.encode())


def read_losses(path: Path, mark: str) -> NDArray[np.float32] | None:
    """Read val_losses.npy; None where it has another mark or none, DataError where it is not what evaluate writes."""
    try:
        check_ends(path)
        with path.open("rb") as stream:
            header, size = stream.read(HEADER_BYTES), path.stat().st_size
            for end in (mark.encode(), b""):  # older files have no mark
                spans = (size - HEADER_BYTES - len(end)) // 4
                if spans > 0 and size == HEADER_BYTES + 4 * spans + len(end) and header == _header(spans):
                    losses = np.frombuffer(stream.read(4 * spans), np.float32)
                    return losses if end and stream.read() == end else None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    raise DataError(f"{path}: no losses of a text; run `dvc repro evaluate` again")


def _header(spans: int) -> bytes:
    """Return what numpy writes before so many losses. It is compared: numpy evaluates whatever stands there."""
    stream = BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": (spans,)})
    return stream.getvalue()
