"""Short trainings of the small model."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from model_helpers import VOCAB, generator, language_model, small_params, token_ids

from gptmodel.compute.place import Place
from gptmodel.config import Params
from gptmodel.data.batches import Splits
from gptmodel.evaluation.history import Evaluation
from gptmodel.nn.transformer import build_model
from gptmodel.optim.factory import build_optimizer
from gptmodel.training.loop import Hooks, fit
from gptmodel.training.state import TrainingState

TRAIN_DATA, VAL_DATA = token_ids(400, seed=1), token_ids(90, seed=2)
CPU = Place.on("cpu")


class Run(NamedTuple):
    """What `fit` takes beside a state."""

    data: Splits
    params: Params
    place: Place
    hooks: Hooks


class Watcher:
    """An observer that remembers, and that tries what an observer may do: draw random numbers."""

    def __init__(self, *, meddles: bool = False) -> None:
        self.losses: list[tuple[int, float]] = []
        self.rows: list[Evaluation] = []
        self.meddles = meddles

    def on_iteration(self, iteration: int, loss: Callable[[], float]) -> None:
        self.losses.append((iteration, loss()))
        if self.meddles:
            torch.manual_seed(iteration)

    def on_evaluation(self, row: Evaluation) -> None:
        self.rows.append(row)
        if self.meddles:
            torch.rand(100)

    def on_warning(self, line: str) -> None:
        raise AssertionError(line)


def new_state(seed: int = 0, **sections: dict[str, Any]) -> TrainingState:
    """A model, an optimizer and a scaler before the first iteration; `seed` is that of the first weights."""
    params = small_params(**sections)
    transformer = build_model(params.model, VOCAB, generator(seed))
    return TrainingState(
        model=language_model(transformer, TRAIN_DATA),
        optimizer=build_optimizer(transformer, params.train),
        scaler=torch.amp.GradScaler("cpu", enabled=False),
    )


def plain_run(**sections: dict[str, Any]) -> Run:
    """A run that is never saved and never stopped."""
    hooks = Hooks(observer=Watcher(), save=lambda _: None, stopped=lambda: False)
    return Run(Splits(TRAIN_DATA, VAL_DATA), small_params(**sections), CPU, hooks)


def varied(run: Run, **changes: Any) -> Run:
    """A run with other hooks, in another place, or with other seconds between two snapshots."""
    data, params, place, hooks = run
    if "snapshot_seconds" in changes:
        runtime = params.runtime.model_copy(update={"snapshot_seconds": changes.pop("snapshot_seconds")})
        params = params.model_copy(update={"runtime": runtime})
    hook_changes = {key: changes.pop(key) for key in ("observer", "save", "stopped") if key in changes}
    return Run(data, params, replace(place, **changes), replace(hooks, **hook_changes))


def trained(seed: int = 0, changed: Callable[[Run], Run] = lambda run: run, **sections: Any) -> TrainingState:
    """The state after a whole run."""
    state = new_state(seed, **sections)
    assert fit(state, *changed(plain_run(**sections)))
    return state


def rows_without_time(state: TrainingState) -> list[Evaluation]:
    """The history, but for the seconds, which no two runs share."""
    return [replace(row, seconds=0.0) for row in state.history]
