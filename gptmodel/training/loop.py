"""The training loop: evaluate when due, save a snapshot when due, stop when asked, else do one more iteration."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch
from torch.nn import functional as F

from gptmodel.compute.place import Place
from gptmodel.config import Params, TrainParams
from gptmodel.data.batches import Splits, training_batch
from gptmodel.errors import CommonError
from gptmodel.evaluation.history import Evaluation
from gptmodel.evaluation.loss import estimate_loss
from gptmodel.language_model import LanguageModel
from gptmodel.optim.factory import learning_rate_at
from gptmodel.training.compiled import compiled
from gptmodel.training.evaluator import evaluator
from gptmodel.training.memory import memory_errors
from gptmodel.training.queued import queue_of
from gptmodel.training.state import TrainingState
from gptmodel.training.step import Update, training_step


class Observer(Protocol):
    """Who is told how the training goes; nothing it does can change a weight."""

    def on_iteration(self, iteration: int, loss: Callable[[], float]) -> None:
        """An iteration is done, or queued on a GPU; `loss` returns that of its batch, for which a GPU is waited for."""

    def on_evaluation(self, row: Evaluation) -> None:
        """Both splits were evaluated."""

    def on_warning(self, line: str) -> None:
        """Something went wrong that does not stop the training."""


@dataclass(frozen=True, kw_only=True)
class Hooks:
    """What `fit` calls while it trains."""

    observer: Observer
    save: Callable[[TrainingState], None]
    """Called every `runtime.snapshot_seconds`, and when stopped; never before the first iteration."""
    stopped: Callable[[], bool]
    """Asked between two iterations."""


def fit(state: TrainingState, data: Splits, params: Params, place: Place, hooks: Hooks) -> bool:
    """Train until `max_iters` and return True, or save the state and return False when stopped.

    Evaluations come before the first iteration, after every `eval_interval` and after the last one. The random
    numbers of an iteration are a function of (seed, iteration), and torch's default generators are left as they were:
    how often the run is watched, saved or resumed cannot change a weight.
    """
    train, model, T = params.train, state.model.transformer.train(), params.model.block_size
    started, last_save = time.perf_counter() - state.seconds, time.monotonic()
    with (
        memory_errors(lambda: f"at iteration {state.iteration}"),
        torch.random.fork_rng(devices=[place.device] if place.device.type == "cuda" else []),
        evaluator(state.model, place, partial(_tell, state, hooks)) as evaluations,
    ):
        forward = compiled(model, train.batch_size, place) if place.compiler else model
        queue = queue_of(forward, state, (data := data.on(place.device)).train, params, place)
        wait: Callable[[], object] = queue.loss if queue is not None else lambda: None  # raises what went wrong so far
        while True:
            if _evaluation_due(state, train):
                wait()
                evaluations.start(partial(_evaluated, state.iteration, time.perf_counter() - started, data, train))
            finished = state.iteration >= train.max_iters
            due = time.monotonic() - last_save >= params.runtime.snapshot_seconds
            stopped, due = place.world.agree(stop=not finished and hooks.stopped(), save=due and not finished)
            evaluations.collect(wait=finished or stopped or due)  # no snapshot lacks a row
            state.seconds = time.perf_counter() - started
            if stopped or due:
                wait()
                _save(state, hooks)
                last_save = time.monotonic()
            if finished or stopped:
                return finished
            if queue is not None:
                loss = queue.do(state.iteration)
            else:
                batch = training_batch(data.train, train.seed, state.iteration, train.batch_size, T, place.device)
                update = Update.at(state.iteration, params)
                loss = partial(float, training_step(forward, state.optimizer, state.scaler, batch, update, place))
            state.iteration += 1
            hooks.observer.on_iteration(state.iteration, loss)


def _tell(state: TrainingState, hooks: Hooks, row: Evaluation) -> None:
    state.history.append(row)
    hooks.observer.on_evaluation(row)


def _save(state: TrainingState, hooks: Hooks) -> None:
    if state.iteration == 0:  # it would be made again in no time, and nothing large stays of a training given up
        return
    try:
        hooks.save(state)
    except OSError as error:  # a full disk does not stop a training: the snapshot before stays
        line = f"no snapshot at iteration {state.iteration}: {error.strerror}; the last one is kept"
        hooks.observer.on_warning(line)


def _evaluation_due(state: TrainingState, train: TrainParams) -> bool:
    due = state.iteration % train.eval_interval == 0 or state.iteration == train.max_iters
    return due and (not state.history or state.history[-1].iteration < state.iteration)


def _evaluated(
    iteration: int, seconds: float, data: Splits, train: TrainParams, model: LanguageModel, place: Place
) -> Evaluation:
    """Evaluate the model as it is after `iteration` updates."""
    blocks = train.eval_iters * train.batch_size
    with memory_errors(lambda: f"at iteration {iteration}"):
        losses = estimate_loss(model, data.train, data.val, F.cross_entropy, place, max_blocks=blocks)
    if not all(math.isfinite(loss) for loss in losses.values()):
        raise CommonError(
            f"the losses are {losses['train']} (train) and {losses['val']} (val) after iteration {iteration}: "
            "lower train.learning_rate, or set train.grad_clip to 1.0"
        )
    return Evaluation(
        iteration=iteration,
        tokens=iteration * train.batch_size * model.params.block_size,
        seconds=round(seconds, 3),
        learning_rate=learning_rate_at(min(iteration, train.max_iters - 1), train),
        train_loss=losses["train"],
        val_loss=losses["val"],
    )
