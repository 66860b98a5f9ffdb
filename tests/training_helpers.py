"""Short trainings of the small model."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from model_helpers import VOCAB, generator, small_params, token_ids

from gptmodel.compute.crew import ALONE
from gptmodel.evaluation.history import Evaluation
from gptmodel.nn.transformer import build_model
from gptmodel.optim.factory import build_optimizer
from gptmodel.training.loop import Conditions, fit
from gptmodel.training.state import TrainingState

TRAIN_DATA, VAL_DATA = token_ids(400, seed=1), token_ids(90, seed=2)


class Watcher:
    """An observer that remembers, and that tries what an observer may do: draw random numbers."""

    def __init__(self, *, meddles: bool = False) -> None:
        self.losses: list[tuple[int, float]] = []
        self.rows: list[Evaluation] = []
        self.meddles = meddles

    def on_iteration(self, iteration: int, loss: float) -> None:
        self.losses.append((iteration, loss))
        if self.meddles:
            torch.manual_seed(iteration)

    def on_evaluation(self, row: Evaluation) -> None:
        self.rows.append(row)
        if self.meddles:
            torch.rand(100)


def new_state(seed: int = 0, **sections: dict[str, Any]) -> TrainingState:
    """A model, an optimizer and a scaler before the first iteration."""
    params = small_params(**sections)
    model = build_model(params.model, VOCAB, generator(seed))
    if model.kneser_ney is not None:
        model.kneser_ney.count(torch.from_numpy(TRAIN_DATA))
    return TrainingState(
        model=model,
        optimizer=build_optimizer(model, params.train),
        scaler=torch.amp.GradScaler("cpu", enabled=False),
    )


def conditions(**sections: dict[str, Any]) -> Conditions:
    """What a run is made under: never saved, never stopped."""
    return Conditions(
        train_data=TRAIN_DATA,
        val_data=VAL_DATA,
        params=small_params(**sections).train,
        device=torch.device("cpu"),
        dtype=torch.float32,
        crew=ALONE,
        beside=False,
        observer=Watcher(),
        save=lambda _: None,
        snapshot_seconds=1e9,
        stopped=lambda: False,
    )


def trained(seed: int = 0, changed: Callable[[Conditions], Conditions] = replace, **sections: Any) -> TrainingState:
    """The state after a whole run."""
    state = new_state(seed, **sections)
    assert fit(state, changed(conditions(**sections)))
    return state


def rows_without_time(state: TrainingState) -> list[Evaluation]:
    """The history, but for the seconds, which no two runs share."""
    return [replace(row, seconds=0.0) for row in state.history]
