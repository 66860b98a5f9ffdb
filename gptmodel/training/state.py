"""All that a training run is at the end of an iteration: what a snapshot holds, and what it is resumed from."""

import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from gptmodel.errors import DataError
from gptmodel.nn.transformer import TransformerModel


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """One row of metrics/history.csv."""

    iteration: int
    tokens: int  # trained on so far
    seconds: float  # since the start, evaluations included; a resumed run counts on
    learning_rate: float
    train_loss: float  # nats per token
    val_loss: float


@dataclass(kw_only=True)
class TrainingState:
    """The parts that change. Batches, dropout and learning rate are functions of the iteration and need no state."""

    model: TransformerModel
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    iteration: int = 0  # updates done
    seconds: float = 0.0
    history: list[Evaluation] = field(default_factory=list)

    def state_dict(self) -> dict[str, Any]:
        """Return tensors and plain values only."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "iteration": self.iteration,
            "seconds": self.seconds,
            "history": [asdict(row) for row in self.history],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Become what `state` was taken of."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.iteration = state["iteration"]
        self.seconds = state["seconds"]
        self.history = [Evaluation(**row) for row in state["history"]]


def history_csv(history: Sequence[Evaluation]) -> str:
    """Return the rows as CSV with a header line."""
    names = Evaluation.__dataclass_fields__.keys()
    rows = [",".join(repr(getattr(row, name)) for name in names) for row in history]
    return "\n".join([",".join(names), *rows]) + "\n"


def read_history(path: Path) -> list[Evaluation]:
    """Read rows that `history_csv` wrote; DataError when the file is missing or wrong."""
    try:
        rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
        history = [
            Evaluation(**{name: kind(row[name]) for name, kind in Evaluation.__annotations__.items()}) for row in rows
        ]
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; run `dvc repro train` first") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not a history of training ({error}); run `dvc repro train` again") from None
    if not history:
        raise DataError(f"{path}: has no rows; run `dvc repro train` again")
    return history
