"""Kills of trainings that end early, keep the best weights or are made longer: the bytes of undisturbed ones."""

import random
from typing import Any

import pytest
from projects import JOURNAL_ONLY, Outcome, Project, new_project, points

WANDERS: dict[str, Any] = {  # up and down, so that the best are not the last and a patience comes to its end
    "max_iters": 60,
    "eval_interval": 3,
    "lr_schedule": "constant",
    "learning_rate": 0.2,
    "keep": "best",
    "patience": 5,
    "ngram_lr": 0.01,
}
NGRAMS: dict[str, Any] = {"ngram_orders": [2], "ngram_dropout": 0.2}
PLACES = [
    ("gptmodel.training.state:TrainingState.take_up", 5),
    ("gptmodel.training.loop:_save", 20),
    ("gptmodel.training.state:TrainingState.end_with_best", 1),
    ("gptmodel.training.run:TrainingRun.finish", 1),
    ("gptmodel.training.ends:EndStates.take", 1),
    ("gptmodel.training.run:TrainingRun.forget", 1),
]


def new(folder: Any, **changes: Any) -> Project:
    return new_project(folder, train={**WANDERS, **changes}, model=NGRAMS)


def killed_everywhere(project: Project, chooser: random.Random, *settings: str) -> Outcome:
    """Train with a kill in each place, and then to the end."""
    for place, call in PLACES:
        moment = {"place": place, "call": call, "after": chooser.randint(0, 12)}
        attempt = project.run("train", *settings, injuries={**JOURNAL_ONLY, "kill_inside": moment})
        assert attempt.killed or attempt.status == 0, attempt.error
    project.succeed("train", *settings, injuries=JOURNAL_ONLY)
    return project.outcome()


def test_a_killed_training_ends_at_the_same_evaluation_with_the_same_best_weights(tmp_path: Any) -> None:
    alone, victim = new(tmp_path / "alone"), new(tmp_path / "victim")
    end = alone.succeed("train", injuries=JOURNAL_ONLY)
    outcome = alone.outcome()
    iterations, kept = outcome.metrics["iterations"], outcome.metrics["kept_iteration"]
    assert 0 < kept < iterations < 60
    assert float(outcome.history[-1]["iteration"]) == iterations
    assert min(outcome.history, key=lambda row: float(row["val_loss"]))["iteration"] == str(kept)
    assert f"{iterations} iterations of 60, after 5 evaluations without a lower val loss" in end.output
    assert f"kept the weights after iteration {kept}, on up to" in end.output
    assert killed_everywhere(victim, random.Random(1)) == outcome
    assert victim.kills >= len(PLACES) - 1
    assert victim.leftovers() == ["runs/ends"]


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{"patience": None}], ids=["made longer"])
def test_a_training_that_is_made_longer_and_killed_has_the_bytes_of_one_that_was_so_long(
    tmp_path: Any, changes: dict[str, Any]
) -> None:
    alone, victim = new(tmp_path / "alone", **changes), new(tmp_path / "victim", **changes)
    alone.succeed("train", injuries=JOURNAL_ONLY)
    killed_everywhere(victim, random.Random(2), "-S", "train.max_iters=31")
    longer = victim.run(
        "train", injuries={**JOURNAL_ONLY, "kill_inside": {"place": PLACES[1][0], "call": 2, "after": 3}}
    )
    assert longer.killed
    assert "continued from iteration 31, where a shorter training ended" in longer.error
    assert killed_everywhere(victim, random.Random(3)) == alone.outcome()
    journals = {journal.key: points(journal) for journal in victim.journals}
    assert points(alone.journals[0]) in journals.values()  # with the rows of the first 31 iterations
    assert victim.leftovers() == ["runs/ends"]
