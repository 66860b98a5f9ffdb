"""The verdict on two losses by the tutorial's rule, and on the curve of a training what to do next. Pure functions.

Train loss far below val loss is overfitting; both losses high is underfitting. "Far below" is a share of the val loss;
"high" is a val loss that counting tokens and pairs of tokens gives too: such a model has learnt nothing that holds for
a new text, and is never healthy.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from gptmodel.evaluation.history import Evaluation

NOTICEABLE = 0.01
"""Losses that are closer than this share are the same. A model that has learnt nothing but how often tokens occur ends
up where counting does: this keeps its verdict the same, whatever the last bits are."""
LAST = 3  # evaluations of which each has to be worse, where there are enough: one that jumps up is no rise

Verdict = Literal["overfitting", "underfitting", "healthy"]
Direction = Literal["falling", "flat", "rising"]
ADVICE: dict[Verdict, dict[Direction | None, str]] = {  # None: there is no curve
    "underfitting": {
        "falling": "more iterations will help",
        "flat": "more iterations will not help; give the model more capacity, or another learning rate",
        "rising": "use a lower learning rate or fewer iterations",
        None: "give the model more capacity or iterations, or another learning rate",
    },
    "overfitting": {
        "falling": "more iterations will still help, and so will more dropout or more text",
        "flat": "more iterations will not help; use more dropout, less capacity or more text",
        "rising": "use fewer iterations, more dropout, less capacity or more text",
        None: "use less capacity, more dropout, fewer iterations or more text",
    },
    "healthy": {
        "falling": "more iterations will help",
        "flat": "more iterations will hardly help; more capacity may",
        "rising": "use fewer iterations or more dropout",
        None: "",
    },
}


@dataclass(frozen=True)
class Diagnosis:
    """A verdict in one word and the sentence that explains it."""

    verdict: Verdict
    gap: float  # val loss minus train loss, nats
    explanation: str


@dataclass(frozen=True)
class Trend:
    """Where the val loss of a training was going when it ended."""

    direction: Direction
    explanation: str


def diagnose(train_loss: float, val_loss: float, counting_loss: float, overfit_gap: float) -> Diagnosis:
    """Judge a model by its losses in nats per token; `overfit_gap` is a share of the val loss.

    `counting_loss` is what counting tokens and pairs of tokens gives on the val split.
    """
    gap = val_loss - train_loss
    share = gap / val_loss if val_loss else 0.0
    numbers = f"train {train_loss:.4f}, val {val_loss:.4f}, gap {gap:z.4f} ({share:z.1%} of val)"
    counting = "counting tokens and pairs of tokens"
    high = counting_loss * (1 - NOTICEABLE)
    if val_loss >= high and (train_loss >= high or share <= overfit_gap):
        return Diagnosis("underfitting", gap, f"{numbers}: val is no better than {counting} ({counting_loss:.4f})")
    if share > overfit_gap:
        return Diagnosis("overfitting", gap, f"{numbers}: the gap is more than {100 * overfit_gap:g}% of the val loss")
    words = f"the gap is within {100 * overfit_gap:g}% of the val loss, and {counting} would give {counting_loss:.4f}"
    return Diagnosis("healthy", gap, f"{numbers}: {words}")


def trend(history: Sequence[Evaluation]) -> Trend | None:
    """Tell where the val loss was going at the end of a training; None where evaluations are too few to say.

    It rises if the last evaluations after the best one are all noticeably worse. It falls if its mean over the last
    quarter of the training is noticeably below that over the quarter before. Where all of its second half is a straight
    line between two evaluations, that would tell of the fall of the first half.
    """
    if len(history) < 2:
        return None
    iterations, losses = [row.iteration for row in history], [row.val_loss for row in history]
    best = int(np.argmin(losses))
    since = losses[best + 1 :][-LAST:]
    if len(since) >= min(LAST, max(1, len(losses) // 4)) and min(since) > losses[best] * (1 + NOTICEABLE):
        ended = f"{losses[-1] / losses[best] - 1:.1%} higher" if losses[best] else f"at {losses[-1]:.2g}"
        words = f"best at iteration {iterations[best]:,} ({losses[best]:.4f}), rising since"
        return Trend("rising", f"{words}: the val loss ended {ended}")
    if not any(iterations[-1] / 2 <= iteration < iterations[-1] for iteration in iterations):
        return None
    val_fall = _fall(iterations, losses)
    train_fall = _fall(iterations, [row.train_loss for row in history])
    if val_fall > NOTICEABLE:
        words = f"the val loss fell by {val_fall:.1%} in the last quarter of the training"
        return Trend("falling", f"still falling: {words}")
    beside = f", and the train loss by {train_fall:.1%}" if train_fall > NOTICEABLE else ""
    words = f"the val loss fell by less than {NOTICEABLE:.0%} in the last quarter of the training"
    return Trend("flat", f"flat: {words}{beside}")


def advice(verdict: Verdict, direction: Direction | None) -> str:
    """Return what to do next, for a model with this verdict whose val loss went in this direction."""
    return ADVICE[verdict][direction]


def _fall(iterations: Sequence[int], losses: Sequence[float]) -> float:
    """Return by which share the mean of a curve falls from the third quarter of its length to the last one."""
    end = iterations[-1]

    def mean(quarter: int) -> float:
        at = np.linspace(end * (quarter - 1) / 4, end * quarter / 4, 201)
        return float(np.interp(at, iterations, losses).mean())

    before = mean(3)
    return 1 - mean(4) / before if before else 0.0
