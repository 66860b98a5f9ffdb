"""Searches of tiny projects, and studies without trainings."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from attempts import Attempt
from projects import Project, new_project

from gptmodel.tuning.search import Search, read_search
from gptmodel.tuning.storage import own_address
from gptmodel.tuning.study import Study

FILE: Mapping[str, Any] = {
    "study": "tiny",
    "objective": "val_loss",
    "trials": 5,
    "seed": 3,
    "pruner": "median",
    "pruner_startup": 2,
    "pruner_warmup": 0,
    "space": {
        "train.learning_rate": {"low": 1e-4, "high": 1e-1, "log": True},
        "model.n_layer": [1, 2],
        "train.weight_decay": {"low": 0.0, "high": 0.3, "step": 0.1},
    },
}
SHORT = {"max_iters": 8, "eval_interval": 2, "lr_schedule": "cosine"}
FEW = {"trials": 8, "pruner": "none", "space": {"train.seed": [1, 2, 3], "train.lr_schedule": ["constant", "cosine"]}}
"""More trials than there are settings."""


def write_search(folder: Path, **changes: Any) -> None:
    (folder / "tune.yaml").write_text(yaml.safe_dump({**FILE, **changes}, sort_keys=False), encoding="utf-8")


def new_search(folder: Path, runtime: Mapping[str, Any], train: Mapping[str, Any] = SHORT, **changes: Any) -> Project:
    """A tiny project with a search."""
    project = new_project(folder, train=train, runtime=runtime)
    write_search(folder, **changes)
    return project


def search_in(folder: Path, **changes: Any) -> Search:
    write_search(folder, **changes)
    return read_search(folder / "tune.yaml")


def study_in(folder: Path, **changes: Any) -> Study:
    """A study in a database of its own."""
    return Study(own_address(folder), search_in(folder, **changes), is_new=True)


def study_of(project: Project) -> Study:
    return Study(own_address(project.folder), read_search(project.folder / "tune.yaml"))


def settings_of(project: Project) -> list[tuple[str, int | None, float | None, dict[str, Any]]]:
    """What is to be the same of two searches by the same seed."""
    return [(row.state, row.iteration, row.val_loss, dict(row.values)) for row in study_of(project).rows()]


def trained_by(*attempts: Attempt) -> list[str]:
    """The settings that workers trained to an end, as they said."""
    said = "\n".join(attempt.output for attempt in attempts)
    began = dict(re.findall(r"^trial (\d+): (train\..*|model\..*)$", said, re.MULTILINE))
    return [began[number] for number in re.findall(r"^trial (\d+): (?:complete|pruned) at", said, re.MULTILINE)]
