"""The evaluations of a training, in order: metrics/history.csv."""

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gptmodel.errors import DataError
from gptmodel.project.layout import Layout

LARGEST = 2**53  # of the numbers in a history: beyond it neither whole numbers nor axes of plots are exact


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """One row of metrics/history.csv."""

    iteration: int
    tokens: int  # trained on so far
    seconds: float  # since the start, when the evaluation was due; a resumed run counts on
    learning_rate: float
    train_loss: float  # nats per token
    val_loss: float


def kept_row(history: Sequence[Evaluation], keep: str) -> Evaluation:
    """Return the row of the weights that a training keeps: the last, or for `best` the first of the lowest val loss."""
    return min(history, key=lambda row: row.val_loss) if keep == "best" else history[-1]


def evaluated_iteration(history: Sequence[Evaluation], provenance: Mapping[str, Any]) -> int:
    """Return after how many iterations the weights of a model were, by its history, if there is one, and provenance."""
    train = provenance.get("train")
    keep = train.get("keep") if isinstance(train, Mapping) else None
    return kept_row(history, str(keep)).iteration if history else 0


def patience_left(history: Sequence[Evaluation], patience: int | None) -> float:
    """Return after how many more evaluations without a lower val loss a training ends; 0 where it has ended so."""
    if patience is None:
        return math.inf
    best, left = math.inf, patience
    for row in history:
        if left == 0:
            break
        best, left = (row.val_loss, patience) if row.val_loss < best else (best, left - 1)
    return left


def history_csv(history: Sequence[Evaluation]) -> str:
    """Return the rows as CSV with a header line."""
    names = Evaluation.__dataclass_fields__.keys()
    rows = [",".join(repr(getattr(row, name)) for name in names) for row in history]
    return "\n".join([",".join(names), *rows]) + "\n"


def read_history(path: Path) -> list[Evaluation]:
    """Read rows that `history_csv` wrote; DataError when the file is missing or wrong."""
    try:
        rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
        if any(row.keys() != Evaluation.__annotations__.keys() for row in rows):
            raise ValueError("its columns are not those of an evaluation")
        history = [
            Evaluation(**{name: kind(row[name]) for name, kind in Evaluation.__annotations__.items()}) for row in rows
        ]
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; run `dvc repro train` first") from None
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise DataError(f"{path}: not the history of a training ({error}); run `dvc repro train` again") from None
    if not history:
        raise DataError(f"{path}: has no rows; run `dvc repro train` again")
    for number, row in enumerate(history, start=2):
        if not all(0 <= value < LARGEST for value in asdict(row).values()):
            raise DataError(f"{path}: line {number} has impossible numbers; run `dvc repro train` again")
    return history


def history_beside(model_file: Path) -> list[Evaluation]:
    """Return the history of the training that a model file has its place in; nothing for a file that stands alone."""
    layout = Layout.around(model_file)
    return read_history(layout.history) if layout is not None and layout.history.is_file() else []
