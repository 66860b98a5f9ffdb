"""What is tried next: Optuna's tree-structured Parzen estimator, begun anew for each trial by a seed of its own."""

from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from gptmodel.compute.random import Stream, derived_seed

RETRY_OF = "retry_of"
"""The number of the trial that this one is again, since its worker ended before it did."""


class SeededSampler(BaseSampler):
    """The seed of a trial is a function of the study's and of how many were drawn before: not of who draws it."""

    def __init__(self, seed: int, size: int) -> None:
        """Draw `size` settings a trial."""
        self._seed, self._size = seed, size
        self._sampler = TPESampler()

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        before = study.get_trials(deepcopy=False)
        drawn = sum(each.number < trial.number and self._was_drawn(each) for each in before)
        self._sampler = TPESampler(seed=derived_seed(self._seed, Stream.SEARCH, drawn) % 2**32)
        self._sampler.before_trial(study, trial)

    def _was_drawn(self, trial: FrozenTrial) -> bool:
        """Whether a trial counts; of a worker that died while it drew, nothing does."""
        died_early = trial.state == TrialState.FAIL and len(trial.params) < self._size
        return not died_early and RETRY_OF not in trial.user_attrs

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._sampler.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._sampler.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._sampler.sample_independent(study, trial, param_name, param_distribution)
