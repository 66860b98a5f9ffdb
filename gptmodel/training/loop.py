"""The training loop: evaluate when due, save a snapshot when due, stop when asked, else do one more iteration."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
import torch
from torch.nn import functional as F

from gptmodel.compute.crew import Crew
from gptmodel.config import TrainParams
from gptmodel.data.batches import training_batch
from gptmodel.errors import TrainingError
from gptmodel.evaluation.history import Evaluation
from gptmodel.evaluation.loss import estimate_loss
from gptmodel.nn.transformer import TransformerModel
from gptmodel.optim.factory import learning_rate_at
from gptmodel.training.evaluator import evaluator
from gptmodel.training.memory import memory_errors
from gptmodel.training.state import TrainingState
from gptmodel.training.step import Forward, Update, training_step


class Observer(Protocol):
    """Who is told how the training goes; nothing it does can change a weight."""

    def on_iteration(self, iteration: int, loss: float) -> None:
        """An iteration is done; `loss` is that of its batch."""

    def on_evaluation(self, row: Evaluation) -> None:
        """Both splits were evaluated."""

    def on_warning(self, line: str) -> None:
        """Something went wrong that does not stop the training."""


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """What does not change during a run: its data, its settings, where it computes, and who is told."""

    train_data: np.ndarray  # token ids, (n,)
    val_data: np.ndarray
    params: TrainParams
    device: torch.device
    dtype: torch.dtype
    crew: Crew  # who computes
    beside: bool  # evaluations compute beside the iterations; it changes no result
    observer: Observer
    save: Callable[[TrainingState], None]  # called every `snapshot_seconds` and when stopped
    snapshot_seconds: float
    stopped: Callable[[], bool]  # asked between two iterations
    forward: Forward | None = None  # trains in the model's place


def fit(state: TrainingState, run: Conditions) -> bool:
    """Train until `max_iters` and return True, or save the state and return False when stopped.

    Evaluations come before the first iteration, after every `eval_interval` and after the last one. The random
    numbers of an iteration are a function of (seed, iteration), and torch's default generators are left as they were:
    how often the run is watched, saved or resumed cannot change a weight.
    """
    devices = [run.device] if run.device.type == "cuda" else []
    with memory_errors(lambda: f"at iteration {state.iteration}"), torch.random.fork_rng(devices=devices):
        return _fit(state, run)


def _fit(state: TrainingState, run: Conditions) -> bool:
    def tell(row: Evaluation) -> None:
        state.history.append(row)
        run.observer.on_evaluation(row)

    started = time.perf_counter() - state.seconds
    saved = time.monotonic()
    state.model.train()
    with evaluator(state.model, run.crew, tell, beside=run.beside) as evaluations:
        while True:
            state.seconds = time.perf_counter() - started
            if _evaluation_due(state, run.params):
                evaluations.start(partial(_evaluated, run=run, iteration=state.iteration, seconds=state.seconds))
            finished = state.iteration >= run.params.max_iters
            stopped = not finished and run.stopped()
            saving = stopped or (not finished and time.monotonic() - saved >= run.snapshot_seconds)
            evaluations.collect(wait=finished or saving)  # no snapshot lacks a row
            state.seconds = time.perf_counter() - started
            if saving:
                _save(state, run)
                saved = time.monotonic()
            if finished or stopped:
                return finished
            _iterate(state, run)


def _iterate(state: TrainingState, run: Conditions) -> None:
    params, model = run.params, state.model
    batch = training_batch(
        run.train_data, params.seed, state.iteration, params.batch_size, model.params.block_size, run.device
    )
    drops = model.params.dropout > 0.0 or model.params.ngram_dropout > 0.0
    update = Update(
        iteration=state.iteration,
        learning_rate=learning_rate_at(state.iteration, params),
        grad_clip=params.grad_clip,
        dropout_seed=params.seed if drops else None,
    )
    forward = run.forward or model
    loss = training_step(forward, state.optimizer, state.scaler, batch, update, dtype=run.dtype, crew=run.crew)
    state.iteration += 1
    run.observer.on_iteration(state.iteration, loss)


def _save(state: TrainingState, run: Conditions) -> None:
    try:
        run.save(state)
    except OSError as error:  # a full disk does not stop a training: the snapshot before stays
        run.observer.on_warning(f"no snapshot at iteration {state.iteration}: {error.strerror}; the last one is kept")


def _evaluation_due(state: TrainingState, params: TrainParams) -> bool:
    due = state.iteration % params.eval_interval == 0 or state.iteration == params.max_iters
    return due and (not state.history or state.history[-1].iteration < state.iteration)


def _evaluated(model: TransformerModel, crew: Crew, run: Conditions, iteration: int, seconds: float) -> Evaluation:
    params = run.params
    with memory_errors(lambda: f"at iteration {iteration}"):
        losses = estimate_loss(
            model,
            run.train_data,
            run.val_data,
            F.cross_entropy,
            run.device,
            max_blocks=params.eval_iters * params.batch_size,
            crew=crew,
        )
    if not all(math.isfinite(loss) for loss in losses.values()):
        raise TrainingError(
            f"the losses are {losses['train']} (train) and {losses['val']} (val) after iteration {iteration}: "
            "lower train.learning_rate, or set train.grad_clip to 1.0"
        )
    return Evaluation(
        iteration=iteration,
        tokens=iteration * params.batch_size * model.params.block_size,
        seconds=round(seconds, 3),
        learning_rate=learning_rate_at(min(iteration, params.max_iters - 1), params),
        train_loss=losses["train"],
        val_loss=losses["val"],
    )
