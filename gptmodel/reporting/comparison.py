"""Which of some trained models predicts a text better, in words, as plain values and as a page."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gptmodel.errors import DataError
from gptmodel.evaluation.comparison import (
    LEAST_PASSAGES,
    PASSAGE_BYTES,
    SEED,
    Difference,
    Group,
    by_passage,
    compare,
    groups,
    most_different,
    passages,
)
from gptmodel.reporting.page import render
from gptmodel.reporting.settings import differing
from gptmodel.units import setting

BITS = 1 / math.log(2)
MOST_PASSAGES = 10
MORE_TEXT = "hold out more text, by a smaller prepare.train_fraction, and train again"


@dataclass(frozen=True)
class Run:
    """A trained model as it enters a comparison."""

    name: str
    settings: Mapping[str, Any]
    """All that has to be equal but for the seed, for runs to be one group."""
    losses: NDArray[np.floating[Any]]
    """Nats of each span of the held-out text, (spans,)."""


@dataclass(frozen=True)
class Pair:
    """A group of runs beside the first one."""

    first: Group
    second: Group
    settings: dict[str, tuple[Any, Any]]
    """The settings that differ: of the first and of the second."""
    difference: Difference
    unused_seed: int
    """That no run was trained with."""

    def line(self) -> str:
        """Return the word with its figures."""
        difference = self.difference
        if difference.text is None:
            scored = f"{difference.passages} passages of 1 kB were scored, and {LEAST_PASSAGES} are needed"
            return f"too little text to say whether {self.second.name} is better than {self.first.name}: {scored}"
        low, high = (BITS * end for end in difference.interval or ())
        figures = (
            f"{BITS * difference.mean:+.4f} bits per byte (95 % interval {low:+.4f} to {high:+.4f}, standard error "
            f"{BITS * difference.text.error:.4f}, {difference.passages} passages of 1 kB; {difference.mean:+.4f} nats)"
        )
        if difference.word == "cannot be told":
            return f"which is better, {self.second.name} or {self.first.name}, cannot be told: {figures}"
        return f"{self.second.name} is {difference.word} than {self.first.name}: {figures}"

    def grounds(self) -> str:
        """Return what the word rests on, and how to find out more."""
        text, seed = self.difference.text, self.difference.seed
        if text is None:
            score_more = "let evaluate score more (evaluate.max_tokens), or " if self.difference.unscored else ""
            return f"to find out more, {score_more}{MORE_TEXT}"
        if not self.settings:
            return "no setting differs, so this is about these two models alone"
        if list(self.settings) == [SEED]:
            return "they differ in train.seed alone: this is about these two models, and other seeds may turn it round"
        command = f"`dvc exp run -S train.seed={self.unused_seed}`"
        more_seeds = f"train with other seeds, with the settings of each: {command}"
        if seed is None:
            return (
                "this rests on the noise of the text alone, so it is about these two models; for a word about the "
                f"settings, {more_seeds}"
            )
        grounds = (
            "this rests on the noise of the text and of train.seed, so it is about the settings: that of the seed "
            f"alone is within {BITS * seed.margin:.4f} bits per byte (95 %, standard error {BITS * seed.error:.4f}), "
            f"both together within {BITS * math.hypot(text.margin, seed.margin):.4f}"
        )
        if self.difference.word != "cannot be told":
            return grounds
        return f"{grounds}; to find out more, {more_seeds if seed.margin > text.margin else MORE_TEXT}"

    def values(self) -> dict[str, Any]:
        """Return plain values for JSON, in nats per byte."""
        difference = self.difference
        noise = {
            name: None if of is None else {"standard_error": of.error, "margin_95": of.margin}
            for name, of in (("text", difference.text), ("seed", difference.seed))
        }
        return {
            "first": list(self.first.names),
            "second": list(self.second.names),
            "word": difference.word,
            "nats_per_byte": difference.mean if difference.passages else None,
            "interval_95": difference.interval,
            "noise": noise,
            "rests_on": [name for name, of in noise.items() if of is not None],
            "passages": difference.passages,
            "settings": {name: list(values) for name, values in self.settings.items()},
        }


@dataclass(frozen=True)
class Comparison:
    """All runs, and each group of them beside the first one."""

    runs: tuple[Run, ...]
    groups: tuple[Group, ...]
    pairs: tuple[Pair, ...]

    @classmethod
    def of(cls, runs: Sequence[Run]) -> "Comparison":
        """Compare two runs or more of one text; DataError where their losses cannot be of one."""
        if len({len(run.losses) for run in runs}) > 1:
            lengths = ", ".join(f"{run.name} {len(run.losses)}" for run in runs)
            raise DataError(f"the losses are of different texts (spans: {lengths}); run `dvc repro evaluate` again")
        together = groups([(run.name, run.settings, run.losses) for run in runs])
        settings = {run.name: run.settings for run in runs}
        seeds = {run.settings.get(SEED) for run in runs}
        unused_seed = next(number for number in itertools.count(1) if number not in seeds)
        pairs = [
            Pair(
                first=together[0],
                second=other,
                settings=differing(settings[together[0].names[0]], settings[other.names[0]]),
                difference=compare(together[0], other),
                unused_seed=unused_seed,
            )
            for other in together[1:]
        ]
        return cls(tuple(runs), tuple(together), tuple(pairs))

    def lines(self) -> list[str]:
        """Return the comparison as a person reads it."""
        width = max(len(run.name) for run in self.runs)
        losses = [_finite(self.bits_per_byte(run)) for run in self.runs]
        told = ["no passage was scored" if loss is None else f"{loss:.4f} bits per byte" for loss in losses]
        lines = [f"{run.name:<{width}}  {of_run}" for run, of_run in zip(self.runs, told, strict=True)]
        lines += [
            f"{name}: of the settings and the seed of another one, so it does not count as a further seed"
            for group in self.groups
            for name in group.again
        ]
        lines += [
            f"{group.name}: the seeds' losses have a standard deviation of {BITS * deviation:.4f} bits per byte"
            for group in self.groups
            if (deviation := group.seed_deviation()) is not None
        ]
        for pair in self.pairs:
            changes = ", ".join(
                f"{name} {setting(old)} -> {setting(new)}" for name, (old, new) in pair.settings.items()
            )
            lines += ["", f"settings that differ: {changes or 'none'}", pair.line(), pair.grounds()]
        return lines

    def values(self) -> dict[str, Any]:
        """Return plain values for JSON: losses in nats per byte."""
        return {
            "runs": [
                {"name": run.name, "bits_per_byte": _finite(self.bits_per_byte(run)), "settings": dict(run.settings)}
                for run in self.runs
            ],
            "groups": [
                {"runs": list(group.names), "again": list(group.again), "seed_deviation": group.seed_deviation()}
                for group in self.groups
            ],
            "comparisons": [pair.values() for pair in self.pairs],
        }

    def bits_per_byte(self, run: Run) -> float:
        """Return a run's loss over the passages that all were scored on; not a number where there are none."""
        scored = passages(np.array([other.losses for other in self.runs], dtype=float))
        number = [other is run for other in self.runs].index(True)
        return float(BITS * scored[number].mean()) if scored.size else math.nan


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


@dataclass(frozen=True)
class Passage:
    """A passage of 1 kB where two groups of runs differ, for readers."""

    start: int
    """Its first byte in the held-out text."""
    text: str
    bits_per_byte: tuple[float, float]
    """The loss of the first group, and of the second."""


def telling_passages(pair: Pair, text: bytes) -> list[Passage]:
    """Return the passages of the held-out text where a pair differs most."""
    losses = [BITS * by_passage(group.losses).mean(axis=0) for group in (pair.first, pair.second)]  # (passages,)
    return [
        Passage(
            start=number * PASSAGE_BYTES,
            text=text[number * PASSAGE_BYTES : (number + 1) * PASSAGE_BYTES].decode(errors="replace"),
            bits_per_byte=(float(losses[0][number]), float(losses[1][number])),
        )
        for number in most_different(pair.first, pair.second, MOST_PASSAGES)
    ]


def page(comparison: Comparison, text: bytes) -> str:
    """Return the page of a comparison; `text` is the held-out text, b"" where it is not here."""
    return render(
        "comparison.html",
        comparison=comparison,
        bits=BITS,
        passages=[telling_passages(pair, text) if text else [] for pair in comparison.pairs],
    )
