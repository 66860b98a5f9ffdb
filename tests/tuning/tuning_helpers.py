"""Searches of tiny projects, and studies without trainings."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from projects import JOURNAL_ONLY, Project, new_project

from gptmodel.tuning.search import Search, read_search
from gptmodel.tuning.storage import own_address
from gptmodel.tuning.study import Study

FILE: Mapping[str, Any] = {
    "study": "tiny",
    "objective": "val_loss",
    "trials": 6,
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
FEW = {"trials": 9, "pruner": "none", "space": {"train.seed": [1, 2, 3], "train.lr_schedule": ["constant", "cosine"]}}
"""More trials than there are settings."""


def write_search(folder: Path, **changes: Any) -> None:
    (folder / "tune.yaml").write_text(yaml.safe_dump({**FILE, **changes}, sort_keys=False), encoding="utf-8")


def new_search(folder: Path, sections: Mapping[str, Any] | None = None, **changes: Any) -> Project:
    """A tiny project with a search; its trainings are tracked into journals only, by `JOURNAL_ONLY`."""
    project = new_project(folder, **(sections or {}))
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


INJURIES = JOURNAL_ONLY
