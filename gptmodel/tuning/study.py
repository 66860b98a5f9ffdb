"""A study: the trials of a search, which all its workers share through a database.

One worker at a time looks for its next trial. In its turn it also sees to the trials whose workers died, and to those
whose settings another trial has. What is chosen is a function of the seed and of the trials so far, never of who
chooses: so two workers never choose the same by the same seed, and a search that was killed goes on as it began.
"""

from collections.abc import Mapping
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from gptmodel.address import without_password
from gptmodel.errors import StudyError
from gptmodel.tuning.sampler import RETRY_OF, SeededSampler
from gptmodel.tuning.search import Search
from gptmodel.tuning.space import Choices
from gptmodel.tuning.storage import Storage, is_missing
from gptmodel.tuning.subject import Subject, first_difference
from gptmodel.tuning.table import counted, table
from gptmodel.tuning.trial import FOLLOWS, REFUSED, WORKER, Row, Trial
from gptmodel.tuning.worker import Worker

SUBJECT, SEARCH = "subject", "search"
"""Attributes of a study: what its trials share, and what its file says."""
DEATHS = "deaths"
MOST_DEATHS = 3
"""After how many workers that died with a trial it is given up: it may be the trial that kills them."""


class Study:
    """The study of a search, in an open database."""

    def __init__(self, address: str, search: Search, *, is_new: bool = False) -> None:
        """Open it, or, where it may be new, begin it; StudyError where there is none."""
        self.search, self.name = search, search.file.study
        if not is_new and is_missing(address):
            raise self._none_yet(address)
        self._storage = Storage(address)
        file = search.file
        parts: dict[str, Any] = {
            "sampler": SeededSampler(file.seed, len(search.space)),
            "pruner": optuna.pruners.NopPruner()
            if file.pruner == "none"
            else optuna.pruners.MedianPruner(file.pruner_startup, max(1, file.pruner_warmup)),
        }
        with self._storage.failures():
            rdb = self._storage.rdb
            try:
                if is_new:
                    self._study = optuna.create_study(storage=rdb, study_name=self.name, load_if_exists=True, **parts)
                else:
                    self._study = optuna.load_study(storage=rdb, study_name=self.name, **parts)
            except KeyError:
                raise self._none_yet(address) from None
            self._check_search()

    def _none_yet(self, address: str) -> StudyError:
        text = f"the studies at {without_password(address)} have none named {self.name} yet"
        return StudyError(f"{text}; `gptmodel tune` without this option begins it")

    def check(self, subject: Subject) -> None:
        """Remember what the trials share, or raise StudyError if those before share something else."""
        with self._storage.failures(), self._storage.turn():
            stored = self._study.user_attrs.get(SUBJECT)
            if stored is None:
                self._study.set_user_attr(SEARCH, self.search.described())
                self._study.set_user_attr(SUBJECT, subject.described())
                return
            self._check_search()
            if difference := subject.difference(stored):
                raise self._other(difference)

    def _check_search(self) -> None:
        stored, own = self._study.user_attrs.get(SEARCH), self.search.described()
        if stored is not None and stored != own:
            key = first_difference(stored, own)
            raise self._other(f"was begun with another `{key}` in its file; write it as it was")

    def _other(self, difference: str) -> StudyError:
        return StudyError(f"study {self.name}: {difference}, or give this search another name under `study`")

    def draw(self, worker: Worker) -> Trial | None:
        """Return a trial to train; None when there is none left for this worker. StudyError where nothing is stored."""
        with self._storage.failures(), self._storage.turn():
            self._retry_dead(worker)
            self._settle_followers()
            while self._is_left():
                trial = self._study.ask()
                values = self._suggest(trial)
                twin = self._twin(values, trial.number)
                if twin is not None:
                    trial.set_user_attr(FOLLOWS, twin.number)
                    self._settle_followers()
                    continue
                self._storage.beat(self.name, trial.number)
                trial.set_user_attr(WORKER, worker.name)
                return Trial(self._study, trial, self._storage, values)
            return None

    def give_back(self, trial: Trial) -> None:
        """Leave a trial that was stopped to the next worker that looks for one."""
        with self._storage.failures(), self._storage.turn():
            frozen = self._trials()[trial.number]
            if frozen.state == TrialState.RUNNING:
                trial.leave()
                self._study.tell(trial.number, state=TrialState.FAIL)
                self._retry_failed()

    def rows(self) -> list[Row]:
        """Return all trials but those that were begun again."""
        with self._storage.failures():
            trials = [trial for trial in self._trials() if trial.state != TrialState.FAIL]
            return [Row.of(trial, self._values(trial)) for trial in trials]

    def best(self) -> Row | None:
        """Return the complete trial with the lowest val loss, the first of equals."""
        rows = [row for row in self.rows() if row.state == "complete" and row.val_loss is not None]
        return min(rows, key=lambda row: (row.val_loss, row.number), default=None)

    def lines(self) -> list[str]:
        """Return all trials as a table under a line that counts them, the best first."""
        rows = self.rows()
        head = f"study {self.name}: {len(rows)} of {self.search.file.trials} trials: {counted(rows)}"
        return [head, *table(rows)] if rows else [head]

    def _trials(self) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False)

    def _is_left(self) -> bool:
        """Whether there is a trial to train: one that waits, or one that was not drawn yet."""
        states = [trial.state for trial in self._trials() if trial.state != TrialState.FAIL]
        return len(states) < self.search.file.trials or TrialState.WAITING in states

    def _retry_dead(self, worker: Worker) -> None:
        optuna.storages.fail_stale_trials(self._study)
        for trial in self._trials():
            if trial.state != TrialState.RUNNING or FOLLOWS in trial.user_attrs:
                continue
            name = trial.user_attrs.get(WORKER)  # which every trial has at the end of a turn
            if name is None or worker.is_dead(name):
                self._study.tell(trial.number, state=TrialState.FAIL)
        self._retry_failed()
        worker.bury()

    def _retry_failed(self) -> None:
        """Put all trials that failed before the next worker, once: who failed one may have died before it did this."""
        trials = self._trials()
        retried = {trial.user_attrs.get(RETRY_OF) for trial in trials}
        for trial in trials:
            was_drawn = len(trial.params) == len(self.search.space)  # else its worker died while it drew
            if trial.state == TrialState.FAIL and was_drawn and trial.number not in retried:
                self._retry(trial)

    def _retry(self, trial: FrozenTrial) -> None:
        deaths = trial.user_attrs.get(DEATHS, 0) + (trial.user_attrs.get(WORKER) is not None)
        attributes: dict[str, Any] = {RETRY_OF: trial.number, DEATHS: deaths}
        if deaths >= MOST_DEATHS:
            attributes[REFUSED] = f"{deaths} workers were killed while they trained it"
        self._study.add_trial(
            optuna.create_trial(
                state=TrialState.PRUNED if deaths >= MOST_DEATHS else TrialState.WAITING,
                params=trial.params,
                distributions=trial.distributions,
                user_attrs=attributes,
            )
        )

    def _twin(self, values: Mapping[str, Any], number: int) -> FrozenTrial | None:
        """Return another trial with the same settings, which was or will be trained."""
        for trial in self._trials():
            is_trained = trial.state != TrialState.FAIL and FOLLOWS not in trial.user_attrs
            if trial.number != number and is_trained and self._values(trial) == values:
                return trial
        return None

    def _settle_followers(self) -> None:
        """Give trials the result of that with the same settings, where it has one."""
        for trial in self._trials():
            if trial.state == TrialState.RUNNING and FOLLOWS in trial.user_attrs:
                twin = self._twin(self._values(trial), trial.number)
                if twin is not None and twin.state == TrialState.COMPLETE:
                    self._study.tell(trial.number, twin.value)
                elif twin is not None and twin.state == TrialState.PRUNED:
                    self._study.tell(trial.number, state=TrialState.PRUNED)

    def _suggest(self, trial: optuna.Trial) -> dict[str, Any]:
        """Choose all settings of a new trial; one that is tried again has them already."""
        for name, each in self.search.space.items():
            if isinstance(each, Choices):
                trial.suggest_categorical(name, [*each.values])
            elif each.whole:
                trial.suggest_int(name, int(each.low), int(each.high), step=int(each.step or 1), log=each.log)
            else:
                trial.suggest_float(name, each.low, each.high, step=each.step, log=each.log)
        return self._values(trial)

    def _values(self, trial: FrozenTrial | optuna.Trial) -> dict[str, Any]:
        """Return the settings of a trial, in the order of the file."""
        params = trial.params
        return {name: each.value(params[name]) for name, each in self.search.space.items() if name in params}
