"""The verdict at its borders, and what is said of the curve of a training."""

import math

import pytest

from gptmodel.evaluation.diagnosis import ADVICE, advice, diagnose, trend
from gptmodel.evaluation.history import Evaluation

CASES = [
    # train, val, counting, overfit_gap -> verdict
    (1.5, 1.6, 2.5, 0.1, "healthy"),
    (1.75, 2.0, 2.5, 0.125, "healthy"),  # a gap of just the share is within it
    (1.74, 2.0, 2.5, 0.125, "overfitting"),
    (0.1, 2.0, 2.5, 0.1, "overfitting"),
    (0.1, 5.0, 2.5, 0.1, "overfitting"),  # worse than counting on val, but the train loss says it has learnt
    (2.5, 2.5, 2.5, 0.1, "underfitting"),  # no better than counting
    (2.5, 9.9, 2.5, 0.1, "underfitting"),  # both are high: that comes first
    (2.4, 2.5, 2.5, 0.1, "underfitting"),  # nothing that holds for val, though train is an easier text
    (2.4, 2.48, 2.5, 0.1, "underfitting"),  # less than a hundredth better is no better
    (2.4, 2.47, 2.5, 0.1, "healthy"),
    (2.6, 2.45, 2.5, 0.1, "healthy"),  # the train split is the harder one
    (4.0, 4.2, 2.5, 0.1, "underfitting"),
    (2.0, 1.5, 2.5, 0.1, "healthy"),  # val below train
    (0.0, 0.0, 0.0, 0.1, "underfitting"),  # nothing to learn
    (1e-9, 0.0, 2.5, 0.1, "healthy"),
]


def test_a_gap_of_nearly_nothing_has_no_sign() -> None:
    assert "gap -0.0010 (0.0% of val)" in diagnose(2.2963, 2.2953, 1.0, 0.1).explanation


@pytest.mark.parametrize(("train", "val", "counting", "overfit_gap", "verdict"), CASES)
def test_the_verdict_at_its_borders(
    train: float, val: float, counting: float, overfit_gap: float, verdict: str
) -> None:
    diagnosis = diagnose(train, val, counting, overfit_gap)
    assert diagnosis.verdict == verdict
    assert diagnosis.gap == val - train
    for number in (train, val, val - train):
        assert f"{number:z.4f}" in diagnosis.explanation
    assert "\n" not in diagnosis.explanation


def test_the_explanation_has_the_numbers_behind_the_verdict() -> None:
    assert "2.5000" in diagnose(3.0, 3.0, 2.5, 0.1).explanation
    assert "95.0% of val" in diagnose(0.1, 2.0, 2.5, 0.1).explanation
    assert "2.5000" in diagnose(1.5, 1.6, 2.5, 0.1).explanation


def history(*losses: float, every: int = 100, train: list[float] | None = None) -> list[Evaluation]:
    return [
        Evaluation(
            iteration=number * every,
            tokens=0,
            seconds=0.0,
            learning_rate=0.1,
            train_loss=train[number] if train else loss,
            val_loss=loss,
        )
        for number, loss in enumerate(losses)
    ]


def falling(count: int) -> list[float]:
    """The losses of a training that goes on learning: to half of what is left each time it is twice as long."""
    return [1.5 + 3.0 / (1 + number) for number in range(count)]


CURVES = {
    "three evaluations": ([6.0, 5.0, 4.8], "falling", "by 2.0%"),
    "still learning": (falling(12), "falling", "in the last quarter"),
    "learnt all": ([4.0, 2.0, *[1.8] * 10], "flat", "less than 1%"),
    "never learnt": ([2.3] * 9, "flat", "less than 1%"),
    "memorises": ([4.0, 2.2, 1.8, 1.7, 1.75, 1.8, 1.9, 2.1], "rising", "best at iteration 300 (1.7000), rising since"),
    "diverged": ([2.0, 3.0], "rising", "best at iteration 0 (2.0000), rising since"),
    "one that jumps up": ([4.0, 2.2, *[1.8] * 8, 1.79, 1.795, 1.85], "flat", "less than 1%"),
    "jumps up at the end of a fall": ([*falling(12), 1.8], "falling", "by"),
    "noise below a hundredth": ([4.0, 2.2, *[1.8, 1.81] * 6], "flat", "less than 1%"),
}


@pytest.mark.parametrize("name", CURVES)
def test_where_the_val_loss_was_going(name: str) -> None:
    losses, direction, words = CURVES[name]
    found = trend(history(*losses))
    assert found is not None
    assert found.direction == direction
    assert words in found.explanation


def test_a_train_loss_that_falls_on_while_the_val_loss_does_not_is_said() -> None:
    val = [4.0, 2.2, *[1.8] * 10]
    found = trend(history(*val, train=[4.0, *falling(11)]))
    assert found is not None
    assert "and the train loss by " in found.explanation
    level = trend(history(*val))
    assert level is not None
    assert "train loss" not in level.explanation


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_the_curve_is_judged_by_shares_and_however_often_it_was_evaluated(scale: float) -> None:
    for every, step in ((100, 1), (400, 4)):
        losses = [loss * scale for loss in falling(41)[::step]]
        found = trend(history(*losses, every=every))
        assert found is not None
        assert found.direction == "falling"


def test_without_a_curve_there_is_no_trend() -> None:
    assert trend([]) is None
    assert trend(history(2.0)) is None


def test_without_an_evaluation_in_the_second_half_nothing_is_said_of_its_end() -> None:
    """The straight line from the first loss to the last falls, however flat the end of the curve was."""
    curve = history(4.3, *[2.0] * 20)
    assert trend([curve[0], curve[-1]]) is None
    assert trend([*curve[:10], curve[-1]]) is None
    found = trend([curve[0], curve[10], curve[-1]])
    assert found is not None
    assert found.direction == "flat"


def test_a_small_change_of_every_loss_changes_no_verdict_of_a_model_that_counts() -> None:
    """Where a model that has learnt only how often tokens occur ends up, the last bits do not decide."""
    for change in (-2e-3, 0.0, 2e-3):
        loss = 4.9 * (1 + change)
        assert diagnose(loss, loss, 4.9, 0.1).verdict == "underfitting"


def test_longer_shorter_and_capacity_come_from_the_curve() -> None:
    assert "more iterations will help" in advice("healthy", "falling")
    assert "more iterations will help" in advice("underfitting", "falling")
    assert "fewer iterations" in advice("healthy", "rising")
    assert "capacity" in advice("underfitting", "flat")
    for verdict, of_direction in ADVICE.items():
        assert "fewer iterations" not in of_direction["falling"] + of_direction["flat"], verdict
        assert "more iterations will help" not in of_direction["flat"] + of_direction["rising"], verdict
        assert of_direction.keys() == {"falling", "flat", "rising", None}


def test_losses_of_nothing_are_judged_too() -> None:
    found = trend(history(0.0, 0.0, 0.0))
    assert found is not None
    assert found.direction == "flat"
    assert not math.isnan(diagnose(0.0, 0.0, 0.0, 0.1).gap)
    found = trend(history(2.0, 0.0, 1e-6, 2e-6, 2.5e-6))
    assert found is not None
    assert found.explanation == "best at iteration 100 (0.0000), rising since: the val loss ended at 2.5e-06"
