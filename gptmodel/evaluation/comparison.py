"""Whether one model predicts a text better than another, beyond the noise of the text and that of the seed.

The text: models are compared passage by passage, which takes away how hard each passage is. Neither tokens nor passages
are independent, since what suits a model better goes on for a while, such as a play in verse. So the standard error is
that of ten stretches of text (Schmeiser 1982, "Batch size effects in the analysis of simulation output"; Miller 2024,
"Adding error bars to evals", clusters). The seed: runs that differ in nothing but train.seed differ all the same.

With one seed of each setting, the noise of the text alone counts, and the word is about these two models. With more, it
is about the settings, and the difference has to be beyond both noises: they are independent, so their squares add up.
Pure functions of numpy arrays.

A span is 256 bytes of text; its loss is in nats.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gptmodel.evaluation.spans import SPAN_BYTES

PASSAGE_SPANS = 4
PASSAGE_BYTES = PASSAGE_SPANS * SPAN_BYTES
LEAST_PASSAGES = 20
"""With fewer there is too little text to say."""
STRETCHES = 10
"""Of passages that follow one another: the longer they are, the less one tells of the next."""
SEED = "train.seed"
Word = Literal["better", "worse", "cannot be told", "too little text to say"]

STUDENT = (12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281)
"""The 97.5 % quantile of Student's t for 1 to 10 degrees of freedom."""
NORMAL = 1.959963984540054


@dataclass(frozen=True)
class Noise:
    """How far a difference may be off for one reason: its standard error, and half of its 95 % interval."""

    error: float
    margin: float


@dataclass(frozen=True)
class Difference:
    """Nats per byte by which a second model's loss is above the first one's; below zero, the second is better."""

    mean: float
    text: Noise | None
    """Noise of the text; None where there is too little of it."""
    seed: Noise | None
    """Noise of the seeds; None where each setting has only one."""
    passages: int
    unscored: int
    """Whole passages that are none of these, because some run was not scored on them."""

    @property
    def word(self) -> Word:
        """Better or worse only where the difference is beyond the noise that can be told."""
        return word_for(self.mean, self.text.margin if self.text else None, self.seed.margin if self.seed else None)

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the mean by the noise of the text."""
        return None if self.text is None else (self.mean - self.text.margin, self.mean + self.text.margin)


def word_for(mean: float, text: float | None, seed: float | None) -> Word:
    """Return the word for a difference and the margins of its noises; None for one that cannot be told."""
    if text is None:
        return "too little text to say"
    if abs(mean) <= math.hypot(text, seed or 0.0):
        return "cannot be told"
    return "better" if mean < 0 else "worse"


@dataclass(frozen=True)
class Group:
    """Runs that differ in train.seed alone."""

    names: tuple[str, ...]
    losses: NDArray[np.float64]
    """Nats of each span, (runs, spans); NaN where a span was not scored."""
    again: tuple[str, ...] = ()
    """Runs of a seed that one of the others has: they are no further sample of the seed's noise, and do not count."""

    @property
    def name(self) -> str:
        """What the group is called: a run, or a run and how many others."""
        return self.names[0] if len(self.names) == 1 else f"{self.names[0]} ({len(self.names)} seeds)"

    def seed_deviation(self) -> float | None:
        """Return the standard deviation of the runs' losses in nats per byte; None for a single run or no passage."""
        tells = len(self.names) > 1 and passages(self.losses).size > 0
        return float(np.std(self.means(), ddof=1)) if tells else None

    def means(self) -> NDArray[np.float64]:
        """Return the loss of each run, in nats per byte, over the passages that all were scored on."""
        means: NDArray[np.float64] = passages(self.losses).mean(axis=1)
        return means


def groups(runs: Sequence[tuple[str, Mapping[str, Any], NDArray[Any]]]) -> list[Group]:
    """Put runs, each its name, settings and nats of each span, together that differ in nothing but the seed.

    Of several runs of one seed the first counts. Where nothing but the seed differs between any of them, each is a
    group of its own.
    """
    together: dict[str, dict[Any, list[int]]] = {}
    for number, (_, settings, _) in enumerate(runs):
        key = repr(sorted((name, value) for name, value in settings.items() if name != SEED))
        together.setdefault(key, {}).setdefault(settings.get(SEED), []).append(number)
    if len(together) == 1:
        return [_group(runs, [[number]]) for number in range(len(runs))]
    return [_group(runs, list(by_seed.values())) for by_seed in together.values()]


def _group(runs: Sequence[tuple[str, Mapping[str, Any], NDArray[Any]]], by_seed: list[list[int]]) -> Group:
    """Return the group of some runs, given by their numbers, those of each seed together."""
    names = tuple(runs[numbers[0]][0] for numbers in by_seed)
    again = tuple(runs[number][0] for numbers in by_seed for number in numbers[1:])
    return Group(names, np.array([runs[numbers[0]][2] for numbers in by_seed], float), again)


def compare(first: Group, second: Group) -> Difference:
    """Return how the second group's loss differs from the first one's, over the passages that all were scored on."""
    losses = np.concatenate((first.losses, second.losses))  # (runs, spans)
    both = passages(losses)  # (runs, passages)
    ours, theirs = both[: len(first.names)], both[len(first.names) :]
    differences = theirs.mean(axis=0) - ours.mean(axis=0)  # (passages,)
    count = len(differences)
    mean = float(differences.mean()) if count else math.nan
    unscored = by_passage(losses).shape[1] - count
    return Difference(mean, _text_noise(differences), _seed_noise(ours, theirs), count, unscored)


def by_passage(losses: NDArray[Any]) -> NDArray[np.float64]:
    """Return nats per byte of each whole passage, NaN where one was not scored: (runs, spans) -> (runs, passages)."""
    runs, spans = losses.shape
    whole = (spans - 1) // PASSAGE_SPANS  # the last span may be short
    sums = losses[:, : whole * PASSAGE_SPANS].astype(np.float64).reshape(runs, whole, PASSAGE_SPANS).sum(axis=2)
    per_byte: NDArray[np.float64] = sums / PASSAGE_BYTES
    return per_byte


def passages(losses: NDArray[Any]) -> NDArray[np.float64]:
    """Return nats per byte of each whole passage that every run was scored on: (runs, spans) -> (runs, passages)."""
    per_byte = by_passage(losses)
    scored: NDArray[np.float64] = per_byte[:, np.isfinite(per_byte).all(axis=0)]
    return scored


def most_different(first: Group, second: Group, count: int) -> list[int]:
    """Return the passages, by their number in the text, where the losses differ most, the largest difference first."""
    differences = np.abs(by_passage(second.losses).mean(axis=0) - by_passage(first.losses).mean(axis=0))  # (passages,)
    order = np.argsort(-differences, kind="stable")  # what is not a number comes last
    return [int(number) for number in order[:count] if np.isfinite(differences[number])]


def student(degrees: int) -> float:
    """Return the 97.5 % quantile of Student's t, by a table or by Cornish and Fisher's expansion."""
    if degrees <= len(STUDENT):
        return STUDENT[degrees - 1]
    z, v = NORMAL, float(degrees)
    terms = ((z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96, (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384)
    return z + sum(term / v**power for power, term in enumerate(terms, start=1))


def _text_noise(differences: NDArray[np.float64]) -> Noise | None:
    """Return the noise of the mean of passages, which stand in their order, from that of stretches of them."""
    count = len(differences)
    if count < LEAST_PASSAGES:
        return None
    sums = [stretch.sum() for stretch in np.array_split(differences - differences.mean(), STRETCHES)]
    error = math.sqrt(STRETCHES / (STRETCHES - 1) * float(np.square(sums).sum())) / count
    return Noise(error, student(STRETCHES - 1) * error)


def _seed_noise(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> Noise | None:
    """Return the noise of a difference of means over seeds; one deviation is taken to hold for both settings."""
    means = [losses.mean(axis=1) for losses in (ours, theirs)] if ours.size else []
    degrees = sum(len(group) - 1 for group in means)
    if not degrees:
        return None
    squares = sum(float(((group - group.mean()) ** 2).sum()) for group in means)
    error = math.sqrt(squares / degrees * sum(1 / len(group) for group in means))
    return Noise(error, student(degrees) * error)
