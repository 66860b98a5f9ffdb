"""A trial: one training of a search, as its worker sees it, and as everybody reads it afterwards."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from gptmodel.errors import StudyError
from gptmodel.tuning.storage import FAILURES, Storage
from gptmodel.tuning.worker import beating

WORKER = "worker"
"""The name of who trains it; none where nobody does any more, and nobody died of it."""
FOLLOWS = "follows"
"""The number of the trial with the same settings, whose result is taken over."""
REFUSED = "refused"
"""Why such a training cannot be."""
RUN = "run"
"""The name of its folder in runs/."""


class Trial:
    """A trial under way. Only what ends it raises errors of the database: a training never does for it."""

    def __init__(self, study: optuna.Study, trial: optuna.Trial, storage: Storage, values: Mapping[str, Any]) -> None:
        self._study, self._trial, self._storage = study, trial, storage
        self.number, self.values = trial.number, values
        self._reported = -1
        self.is_pruned = False
        self.is_taken_over = False
        self._failure: StudyError | None = None

    @property
    def is_over(self) -> bool:
        """Whether its training has to stop."""
        return self.is_pruned or self.is_taken_over or self._failure is not None

    @property
    def outcome(self) -> str:
        """What became of its training, in a word or two."""
        if self.is_taken_over:
            return "left to another worker"
        return "pruned" if self.is_pruned else "complete" if self._failure is None else "stopped"

    @contextmanager
    def under_way(self) -> Iterator[None]:
        """Say that this worker lives while the block runs."""
        with beating(partial(self._storage.beat, self._study.study_name, self.number)):
            yield

    def begin(self, run: str) -> None:
        """Tell which folder of runs/ has its training."""
        with self._told():
            self._trial.set_user_attr(RUN, run)

    def report(self, losses: Sequence[tuple[int, float]], max_iters: int) -> None:
        """Tell the val losses at iterations that are new, and learn whether to stop; nothing counts after that."""
        for iteration, val_loss in losses:
            if iteration <= self._reported or self.is_over:
                continue
            self._reported = iteration
            with self._told():
                self._trial.report(val_loss, iteration)
                self.is_pruned = iteration < max_iters and self._trial.should_prune()

    def leave(self) -> None:
        """Take the worker's name off it; any error of the database is raised."""
        self._trial.set_user_attr(WORKER, None)

    def settle(self, val_loss: float) -> None:
        """End it as pruned or complete, unless another worker took it over; StudyError if that is not stored."""
        if self._failure is not None:
            raise self._failure
        with self._storage.failures():
            if self.is_pruned:
                self._study.tell(self.number, state=TrialState.PRUNED, skip_if_finished=True)
            else:
                self._study.tell(self.number, val_loss, skip_if_finished=True)

    def refuse(self, reason: str) -> None:
        """End it where there can be no such training; StudyError if that cannot be stored."""
        with self._told():
            self._trial.set_user_attr(REFUSED, reason)
            self.is_pruned = True
        self.settle(0.0)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Take a database that fails, and a trial that others took over for dead, for a reason to stop."""
        try:
            yield
        except UpdateFinishedTrialError:
            self.is_taken_over = True
        except FAILURES as error:
            self._failure = self._storage.error(error)


@dataclass(frozen=True)
class Row:
    """A trial as everybody reads it."""

    number: int
    state: str
    """complete, pruned, refused, under way or waiting."""
    iteration: int | None
    """Of its last evaluation."""
    val_loss: float | None
    values: Mapping[str, Any]
    remark: str
    run: str | None

    @classmethod
    def of(cls, trial: FrozenTrial, values: Mapping[str, Any]) -> "Row":
        """Return a trial of the database, and its settings."""
        refused, follows = trial.user_attrs.get(REFUSED), trial.user_attrs.get(FOLLOWS)
        names = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.WAITING: "waiting"}
        state = "refused" if refused else names.get(trial.state, "under way")
        losses = trial.intermediate_values
        loss = trial.value if trial.state == TrialState.COMPLETE else losses[max(losses)] if losses else None
        remark = str(refused) if refused else f"as trial {follows}" if follows is not None else ""
        return cls(trial.number, state, max(losses, default=None), loss, values, remark, trial.user_attrs.get(RUN))
