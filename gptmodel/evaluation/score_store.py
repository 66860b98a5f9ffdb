"""Scores that were computed before: another rule for the verdict is no reason to score every token again."""

import contextlib
import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gptmodel.compute.place import Place
from gptmodel.data.prepared import PreparedData
from gptmodel.errors import DataError
from gptmodel.evaluation.loss import SplitLoss
from gptmodel.evaluation.scores import Scores, SplitScore
from gptmodel.files import atomic_writer, digest, fingerprint, json_bytes
from gptmodel.project.inputs import code_digest
from gptmodel.wheel import BAD_ZIP

KEPT = 16  # files in a folder, the newest; one is as large as a small picture


class ScoreStore:
    """A file with scores, named by the fingerprint of all that decides them, beside the last of others."""

    def __init__(self, path: Path, again: Callable[[], Path] | None = None) -> None:
        self.path, self._again = path, again

    @classmethod
    def of(
        cls, folder: Path, model_file: Path, data: PreparedData, place: Place, max_tokens: int | None
    ) -> "ScoreStore":
        """Return the store of what `score` gives for these."""

        def path() -> Path:
            inputs = {
                "model": digest(model_file),
                "data": data.digests(),
                "code": code_digest("evaluate"),
                "platform": place.fingerprint,
                "max_tokens": max_tokens,
            }
            return folder / f"{fingerprint(inputs)}.npz"

        return cls(path(), path)

    def check(self) -> None:
        """Raise DataError if what decides the scores changed since: another model would get these for its own."""
        if self._again is not None and self._again() != self.path:
            raise DataError("the model, data/prepared or the code changed while evaluate ran; run it again")

    def load(self) -> Scores | None:
        """Return the scores; None where there are none, or the file is damaged."""
        try:
            with zipfile.ZipFile(self.path) as archive:
                if archive.testzip():  # numpy would evaluate a damaged header before a checksum tells
                    return None
            with np.load(self.path, allow_pickle=False) as arrays:
                return _scores(arrays)
        except BAD_ZIP:
            return None

    def save(self, scores: Scores) -> None:
        """Keep the scores, and of others only the newest; a full disk stops nothing."""
        with contextlib.suppress(OSError):
            with atomic_writer(self.path) as stream:
                np.savez(stream, allow_pickle=False, **_arrays(scores))
            files = sorted(self.path.parent.glob("*.npz"), key=lambda path: path.stat().st_mtime_ns)
            for path in files[:-KEPT]:
                path.unlink(missing_ok=True)


def _arrays(scores: Scores) -> dict[str, Any]:
    arrays: dict[str, Any] = {"counting_loss": scores.counting_loss, "counted": scores.counted, "spans": scores.spans}
    arrays["passages"] = np.frombuffer(json_bytes(scores.passages), np.uint8)
    for name, split in (("train", scores.train), ("val", scores.val)):
        arrays[f"{name}_losses"] = np.stack([split.loss.totals, split.network.totals])  # (2, block_size)
        arrays[f"{name}_counts"] = split.loss.counts
        arrays[f"{name}_sizes"] = np.array([split.bytes, split.tokens])
    return arrays


def _scores(arrays: Mapping[str, Any]) -> Scores:
    """Return what `_arrays` was given; ValueError or KeyError for anything else."""
    parts = "losses", "counts", "sizes"
    train, val = (_split(*(arrays[f"{name}_{part}"] for part in parts)) for name in ("train", "val"))
    passages = json.loads(arrays["passages"].tobytes())
    counting_loss, counted = float(arrays["counting_loss"]), bool(arrays["counted"])
    return Scores(train, val, arrays["spans"], passages, counting_loss, counted)


def _split(losses: np.ndarray, counts: np.ndarray, sizes: np.ndarray) -> SplitScore:
    if losses.shape != (2, len(counts)) or not np.isfinite(losses).all() or counts.min() < 0 or sizes.min() < 1:
        raise ValueError("not the scores of a split")
    scored_bytes, tokens = (int(size) for size in sizes)
    return SplitScore(SplitLoss(losses[0], counts), SplitLoss(losses[1], counts), scored_bytes, tokens)
