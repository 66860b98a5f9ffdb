"""All that a training run is at the end of an iteration: what a snapshot holds, and what it is resumed from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from gptmodel.errors import TrainingError
from gptmodel.evaluation.history import LARGEST, Evaluation, kept_row
from gptmodel.language_model import LanguageModel
from gptmodel.optim.base import Optimizer

DTYPES = {int: torch.int64, float: torch.float64}
PARTS = ("model", "best", "scaler", "iteration", "seconds")  # which have the same types and shapes throughout


@dataclass(kw_only=True)
class TrainingState:
    """The parts that change. Batches, dropout and learning rate are functions of the iteration and need no state."""

    model: LanguageModel
    optimizer: Optimizer
    scaler: torch.amp.GradScaler
    iteration: int = 0  # updates done
    seconds: float = 0.0
    history: list[Evaluation] = field(default_factory=list)
    best: dict[str, Tensor] | None = None
    """The weights of the lowest val loss so far, in main memory, where a training keeps the best; else None."""

    def keep_best(self) -> None:
        """Keep the weights of the lowest val loss from now on, beside those that are trained."""
        weights = self.model.transformer.state_dict()
        self.best = {name: tensor.detach().cpu().clone() for name, tensor in weights.items()}

    def take_up(self, row: Evaluation, model: LanguageModel) -> None:
        """Add the row of an evaluation, and keep the weights of the model that was evaluated if they are the best."""
        self.history.append(row)
        if self.best is not None and kept_row(self.history, "best") is row:
            for name, tensor in model.transformer.state_dict().items():
                self.best[name].copy_(tensor)

    def end_with_best(self) -> None:
        """Give the model the best weights, if they are kept: the training is over."""
        if self.best is not None:
            self.model.transformer.load_state_dict(self.best)

    def state_dict(self) -> dict[str, Any]:
        """Return tensors and plain values only."""
        return {
            "model": dict(self.model.transformer.state_dict()),
            "best": self.best,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "iteration": self.iteration,
            "seconds": self.seconds,
            "history": columns_of(self.history),
        }

    def fits(self, state: dict[str, Any]) -> bool:
        """Whether `state` is one of this model and this optimizer, whoever wrote it."""
        own = self.state_dict()
        if state.keys() != own.keys() or not all(_alike(own[part], state[part]) for part in PARTS):
            return False
        iteration: int = state["iteration"]
        seconds: float = state["seconds"]
        return (
            iteration >= 0
            and 0.0 <= seconds < LARGEST
            and _is_history(state["history"], iteration)
            and _fits_optimizer(self.optimizer, state["optimizer"])
        )

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Become what `state` was taken of; TrainingError unless it fits."""
        if not self.fits(state):
            raise TrainingError("a snapshot in runs/ does not belong to this training; remove its folder to start anew")
        self.model.transformer.load_state_dict(state["model"])
        self.best = state["best"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.iteration = state["iteration"]
        self.seconds = state["seconds"]
        self.history = rows_of(state["history"])


def columns_of(rows: Sequence[Evaluation]) -> dict[str, Tensor]:
    """Return a tensor (n,) for each column of a history.

    What reads a snapshot has a bound on how many values it takes, and the rows of a long training are beyond it.
    """
    return {
        name: torch.tensor([getattr(row, name) for row in rows], dtype=DTYPES[kind])
        for name, kind in Evaluation.__annotations__.items()
    }


def rows_of(columns: Mapping[str, Tensor]) -> list[Evaluation]:
    """Return the history that `columns_of` was given."""
    values = (column.tolist() for column in columns.values())
    return [Evaluation(**dict(zip(columns, row, strict=True))) for row in zip(*values, strict=True)]


def _alike(own: Any, other: Any) -> bool:
    """Whether two values have the same types, names and shapes."""
    if type(own) is not type(other):
        return False
    if isinstance(own, Tensor):
        return bool(own.shape == other.shape and own.dtype == other.dtype)
    if isinstance(own, dict):
        return own.keys() == other.keys() and all(_alike(value, other[name]) for name, value in own.items())
    if isinstance(own, (list, tuple)):
        return len(own) == len(other) and all(map(_alike, own, other))
    return True


def _is_history(columns: Any, iteration: int) -> bool:
    """Whether these are the columns of evaluations, in their order, none after `iteration`."""
    own = columns_of(())
    if not isinstance(columns, dict) or columns.keys() != own.keys():
        return False
    if not all(isinstance(column, Tensor) and column.dtype == own[name].dtype for name, column in columns.items()):
        return False
    if {column.shape for column in columns.values()} != {columns["iteration"].flatten().shape}:
        return False
    if not all(bool(((column >= 0) & (column < LARGEST)).all()) for column in columns.values()):
        return False
    ends = torch.tensor([-1]), torch.tensor([iteration + 1])
    return bool((torch.cat([ends[0], columns["iteration"], ends[1]]).diff() > 0).all())


def _fits_optimizer(optimizer: Optimizer, state: Any) -> bool:
    """Whether a state has the settings of an optimizer, but for the learning rate, and what it keeps of its weights."""
    own = optimizer.state_dict()
    if not isinstance(state, dict) or state.keys() != own.keys() or not isinstance(state["state"], dict):
        return False
    groups, own_groups = state["param_groups"], own["param_groups"]
    if not _alike(own_groups, groups):
        return False
    if [{**group, "lr": 0} for group in groups] != [{**group, "lr": 0} for group in own_groups]:
        return False
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    return all(
        type(index) is int
        and 0 <= index < len(weights)
        and isinstance(values, dict)
        and (not values or _fits_weight(values, optimizer.kept(weights[index])))
        for index, values in state["state"].items()
    )


def _fits_weight(values: dict[str, Any], own: dict[str, Any]) -> bool:
    """Whether values have the names, types and shapes of what is kept; no number is negative or too large."""
    numbers = [value for value in values.values() if isinstance(value, (int, float))]
    return _alike(own, values) and all(0 <= number < LARGEST for number in numbers)
