"""What the stages before the report found out, read from the files that they wrote."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gptmodel.checkpoint.model_file import load_model
from gptmodel.data.prepared import TOKENIZER, TRAIN, VAL
from gptmodel.errors import DataError
from gptmodel.evaluation.baselines import name_of, read_baselines
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
    passages: Mapping[str, Any] | None
    """evaluation/passages.json"""
    digests: Mapping[str, str]
    """SHA-256 of files, by name."""


def read_findings(layout: Layout) -> Findings:
    """Read the files below a layout; DataError names one that is missing or damaged."""
    model = load_model(layout.model)
    recorded = model.provenance.get("data")
    data = recorded if isinstance(recorded, Mapping) else {}
    return Findings(
        model=model,
        evaluation=_read(layout.metrics("evaluate"), "evaluate"),
        memorisation=_read(layout.metrics("memorisation"), "sample"),
        history=read_history(layout.history),
        positions=_positions(layout.positions),
        baselines=_named(read_baselines(layout.metrics("baselines"), str(data.get(VAL)))),
        passages=_read(layout.passages, "evaluate") if layout.passages.is_file() else None,
        digests={layout.model.name: digest(layout.model)}
        | {name: str(data[name]) for name in (TOKENIZER, TRAIN, VAL) if name in data},
    )


def _read(path: Path, stage: str) -> dict[str, Any]:
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
    return value


def _named(bits: Mapping[str, float]) -> dict[str, float]:
    return {name_of(method): value for method, value in bits.items()}


def _positions(path: Path) -> dict[str, list[float]] | None:
    if not path.is_file():
        return None
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
        return {split: [float(row[split]) for row in rows if row[split]] for split in ("train", "val")}
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise DataError(f"{path}: no losses by position ({error}); run `dvc repro evaluate` again") from None
