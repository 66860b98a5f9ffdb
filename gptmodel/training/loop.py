"""The training loop: evaluate when due, save a snapshot when due, stop when asked or over, else do one iteration."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch
from torch.nn import functional as F

from gptmodel.compute.place import Place
from gptmodel.compute.ranks import World
from gptmodel.config import Params, TrainParams
from gptmodel.data.batches import Splits, training_batch
from gptmodel.errors import CommonError
from gptmodel.evaluation.history import Evaluation, patience_left
from gptmodel.evaluation.loss import estimate_loss
from gptmodel.language_model import LanguageModel
from gptmodel.optim.factory import learning_rate_at
from gptmodel.training.compiled import compiled
from gptmodel.training.evaluator import Evaluator, evaluator
from gptmodel.training.memory import memory_errors
from gptmodel.training.queued import queue_of
from gptmodel.training.sharded import sharded_step
from gptmodel.training.state import TrainingState
from gptmodel.training.step import Update, nats_of_all, training_step
from gptmodel.training.teacher import Teacher


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
    """Called every `runtime.snapshot_seconds`, when stopped, and at the end; never before the first iteration."""
    stopped: Callable[[], bool]
    """Asked between two iterations."""


def fit(state: TrainingState, data: Splits, params: Params, place: Place, hooks: Hooks) -> bool:
    """Train until `max_iters`, or until `patience` is at its end, and return True; save and return False when stopped.

    Evaluations come before the first iteration, after every `eval_interval` and after the last one. The random
    numbers of an iteration are a function of (seed, iteration), and torch's default generators are left as they were:
    how often the run is watched, saved or resumed cannot change a weight. A state that a longer training would have
    been in as well is saved at the end too, without the evaluation that only the last iteration makes due.
    """
    train, model, T = params.train, state.model.transformer.train(), params.model.block_size
    step = sharded_step if place.sharded else training_step
    with (
        memory_errors(lambda: f"at iteration {state.iteration}"),
        torch.random.fork_rng(devices=[place.device] if place.device.type == "cuda" else []),
        evaluator(state.model, place, partial(_tell, state, hooks)) as evaluations,
    ):
        data = data.on(place.device)
        nats = compiled(model, train, place) if place.compiler else nats_of_all
        queue = queue_of(nats, state, data.train, params, place)
        teacher = Teacher(train, model.vocab_size, data.train) if train.teacher_order else None
        wait = queue.loss if queue is not None else lambda: None  # raises what went wrong so far
        pauses = _Pauses(state, data, params, hooks, evaluations, place.world, wait)
        while pauses.lead_on():
            if queue is not None:
                loss = queue.do(state.iteration)
            else:
                batch = training_batch(data.train, train.seed, state.iteration, train.batch_size, T, place.device)
                batch = teacher.taught(batch, state.iteration) if teacher is not None else batch
                update = Update.at(state.iteration, params)
                loss = partial(float, step(model, state.optimizer, state.scaler, batch, update, place, nats))
            state.iteration += 1
            hooks.observer.on_iteration(state.iteration, loss)
        return pauses.over


@dataclass
class _Pauses:
    """What is done between two iterations: evaluations and snapshots that are due, and the end."""

    state: TrainingState
    data: Splits
    params: Params
    hooks: Hooks
    evaluations: Evaluator
    world: World
    wait: Callable[[], object]
    over: bool = False
    """Whether the training has come to its end."""

    def __post_init__(self) -> None:
        self.started, self.last_save = time.perf_counter() - self.state.seconds, time.monotonic()

    def lead_on(self) -> bool:
        """Evaluate if due, save if due or asked to stop, and return whether there is one more iteration."""
        state, train = self.state, self.params.train
        if state.iteration % train.eval_interval == 0:
            self.evaluate()
        done = state.iteration >= train.max_iters
        due = time.monotonic() - self.last_save >= self.params.runtime.snapshot_seconds
        stopped, due = self.world.agree(stop=not done and self.hooks.stopped(), save=due and not done)
        saving = done or stopped or due
        self.collect(wait=saving or patience_left(state.history, train.patience) == 1)  # it may be the end
        self.over = done or patience_left(state.history, train.patience) == 0
        if can_be_longer(train) if self.over else saving:
            self.wait()
            _save(state, self.hooks)
            self.last_save = time.monotonic()
        if self.over:
            self.evaluate()
            self.collect(wait=True)
        return not (self.over or stopped)

    def evaluate(self) -> None:
        """Begin to evaluate the model as it is now, unless that was done."""
        state = self.state
        if not state.history or state.history[-1].iteration < state.iteration:
            self.wait()
            seconds = time.perf_counter() - self.started
            self.evaluations.start(partial(_evaluated, state.iteration, seconds, self.data, self.params.train))

    def collect(self, *, wait: bool) -> None:
        """Take up the row of an evaluation, if it is done or waited for: no snapshot lacks one."""
        self.evaluations.collect(wait=wait)
        self.state.seconds = time.perf_counter() - self.started


def can_be_longer(train: TrainParams) -> bool:
    """Whether a training with more iterations does the same in those that this one has."""
    return train.lr_schedule == "constant"


def _tell(state: TrainingState, hooks: Hooks, row: Evaluation, model: LanguageModel) -> None:
    state.take_up(row, model)
    hooks.observer.on_evaluation(row)


def _save(state: TrainingState, hooks: Hooks) -> None:
    if state.iteration == 0:  # it would be made again in no time, and nothing large stays of a training given up
        return
    try:
        hooks.save(state)
    except OSError as error:  # a full disk does not stop a training: the snapshot before stays
        line = f"no snapshot at iteration {state.iteration}: {error.strerror}; the last one is kept"
        hooks.observer.on_warning(line)


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
