"""What the stages before the report found out, read from the files that they wrote."""

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gptmodel.checkpoint.model_file import load_model
from gptmodel.data.prepared import TOKENIZER, TRAIN, VAL
from gptmodel.errors import DataError
from gptmodel.evaluation.baselines import name_of, read_baselines, read_repeated
from gptmodel.evaluation.history import Evaluation, read_history
from gptmodel.files import digest, read_json
from gptmodel.language_model import LanguageModel
from gptmodel.project.layout import Layout


@dataclass(frozen=True, kw_only=True)
class Findings:
    """The files of a trained model's stages, as they were written; None for one that is not there."""

    model: LanguageModel
    evaluation: Mapping[str, Any]
    """metrics/evaluate.json"""
    memorisation: Mapping[str, Any]
    """metrics/memorisation.json"""
    history: Sequence[Evaluation]
    positions: Mapping[str, Sequence[float]] | None
    """metrics/loss_by_position.csv: nats per token at each position in the block, of both splits."""
    baselines: Mapping[str, float]
    """metrics/baselines.json: bits per byte of the val split, by the name of a method; empty where it is not there."""
    repeated: Sequence[str]
    """From there too, a line on how much of the val split stands in the train split; empty where it is not known."""
    passages: Mapping[str, Any] | None
    """evaluation/passages.json"""
    digests: Mapping[str, str]
    """SHA-256 of files, by name."""


def read_findings(layout: Layout) -> Findings:
    """Read the files below a layout; DataError names one that is missing or damaged."""
    model = load_model(layout.model)
    recorded = model.provenance.get("data")
    data = recorded if isinstance(recorded, Mapping) else {}
    baselines, val = layout.metrics("baselines"), str(data.get(VAL))
    return Findings(
        model=model,
        evaluation=_read(layout.metrics("evaluate"), "evaluate", "val", "train", "gap", "verdict"),
        memorisation=_read(layout.metrics("memorisation"), "sample", "sentence", "samples", "held_out", "texts"),
        history=read_history(layout.history),
        positions=_positions(layout.positions),
        baselines={name_of(method): bits for method, bits in read_baselines(baselines, val).items()},
        repeated=read_repeated(baselines, val),
        passages=_read(layout.passages, "evaluate") if layout.passages.is_file() else None,
        digests={layout.model.name: digest(layout.model)}
        | {name: str(data[name]) for name in (TOKENIZER, TRAIN, VAL) if name in data},
    )


@contextmanager
def as_written(path: Path, stage: str) -> Iterator[None]:
    """Raise DataError that names a file of a stage where what is taken from it is not there or of another kind."""
    try:
        yield
    except (OSError, ValueError, LookupError, TypeError, ArithmeticError, csv.Error) as error:
        reason = f"{type(error).__name__}: {error}"
        raise DataError(f"{path}: not as {stage} writes it ({reason}); run `dvc repro {stage}` again") from None


def _read(path: Path, stage: str, *keys: str) -> dict[str, Any]:
    try:
        value = read_json(path)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; run `dvc repro {stage}` first") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise DataError(f"{error}; run `dvc repro {stage}` again") from None
    if not isinstance(value, dict):
        raise DataError(f"{path}: has to be a JSON object; run `dvc repro {stage}` again")
    if absent := [key for key in keys if key not in value]:
        raise DataError(f"{path}: has no {absent[0]}; run `dvc repro {stage}` again")
    return value


def _positions(path: Path) -> dict[str, list[float]] | None:
    if not path.is_file():
        return None
    with as_written(path, "evaluate"):
        with path.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
        positions = {split: [float(row[split]) for row in rows if row[split]] for split in ("train", "val")}
        for split, losses in positions.items():
            if not losses or not all(map(math.isfinite, losses)):
                raise ValueError(f"no losses, or some that are no numbers, in the column {split}")
    return positions
