"""All that a training run is at the end of an iteration: what a snapshot holds, and what it is resumed from."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from gptmodel.errors import TrainingError
from gptmodel.evaluation.history import LARGEST, Evaluation
from gptmodel.kneser_ney import COUNTED
from gptmodel.nn.transformer import TransformerModel

PARTS = ("model", "scaler", "iteration", "seconds")  # of a state, which have the same types and shapes throughout


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
            "model": dict(self.model.state_dict()),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "iteration": self.iteration,
            "seconds": self.seconds,
            "history": [asdict(row) for row in self.history],
        }

    def fits(self, state: dict[str, Any]) -> bool:
        """Whether `state` is one of this model and this optimizer, whoever wrote it."""
        own = self.state_dict()
        if state.keys() != own.keys() or not all(_alike(own[part], state[part]) for part in PARTS):
            return False
        weights = [weight for group in self.optimizer.param_groups for weight in group["params"]]
        counted = COUNTED & own["model"].keys()
        iteration: int = state["iteration"]
        seconds: float = state["seconds"]
        return (
            all(torch.equal(own["model"][name], state["model"][name]) for name in counted)
            and iteration >= 0
            and 0.0 <= seconds < LARGEST
            and _is_history(state["history"], iteration)
            and _fits_optimizer(own["optimizer"], state["optimizer"], weights)
        )

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Become what `state` was taken of; TrainingError unless it fits."""
        if not self.fits(state):
            raise TrainingError("a snapshot in runs/ is not one of this training; remove its folder to start anew")
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.iteration = state["iteration"]
        self.seconds = state["seconds"]
        self.history = [Evaluation(**row) for row in state["history"]]


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


def _is_history(rows: Any, iteration: int) -> bool:
    """Whether these are rows of evaluations, in their order, none after `iteration`."""
    kinds = Evaluation.__annotations__
    if not isinstance(rows, list) or not all(isinstance(row, dict) and row.keys() == kinds.keys() for row in rows):
        return False
    if not all(type(row[name]) is kind and 0 <= row[name] < LARGEST for row in rows for name, kind in kinds.items()):
        return False
    seen = [-1, *(row["iteration"] for row in rows), iteration + 1]
    return all(before < after for before, after in pairwise(seen))


def _fits_optimizer(own: dict[str, Any], other: Any, weights: Sequence[Tensor]) -> bool:
    """Whether a state has the settings of our own, but for the learning rate, and averages of the weights' shapes."""
    if not isinstance(other, dict) or other.keys() != own.keys() or not isinstance(other["state"], dict):
        return False
    ours, theirs = own["param_groups"], other["param_groups"]
    if not _alike(ours, theirs) or [{**group, "lr": 0} for group in ours] != [{**group, "lr": 0} for group in theirs]:
        return False
    group_of = {index: group for group in ours for index in group["params"]}
    return all(
        type(index) is int
        and index in group_of
        and isinstance(values, dict)
        and _fits_weight(values, weights[index], group_of[index])
        for index, values in other["state"].items()
    )


def _fits_weight(values: dict[str, Any], weight: Tensor, group: dict[str, Any]) -> bool:
    """Whether these are what the optimizer of a group keeps of a weight: nothing, before the weight's first update."""
    shape = tuple(weight.shape)
    if "nesterov" in group:  # SGD
        return values.keys() <= {"momentum_buffer"} and not any(value is not None for value in values.values())
    known: dict[str, Any]
    if "rows" in group:  # Muon
        known = {"momentum_buffer": shape}
    elif "floor" in group:  # TableAdam
        known = {"step": int, "exp_avg": shape, "exp_avg_sq": shape, "size": float}
    else:  # AdamW
        known = {"step": (), "exp_avg": shape, "exp_avg_sq": shape}
    found = {name: tuple(value.shape) if isinstance(value, Tensor) else type(value) for name, value in values.items()}
    numbers = [value for value in values.values() if not isinstance(value, Tensor)]
    return not values or (found == known and all(0 <= number < LARGEST for number in numbers))
