"""One tiny pipeline, run once with the real `dvc repro`; tests work on copies."""

from pathlib import Path

import pytest
from pipeline_helpers import Project, run_once


@pytest.fixture(scope="session")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A committed project with tiny settings in which nothing was run yet; do not change it."""
    return run_once(tmp_path_factory)[0]


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A clone of the project after `dvc repro`, for the tests of one worker; do not change it."""
    return run_once(tmp_path_factory)[1].copy_to(tmp_path_factory.mktemp("pipeline") / "finished")


@pytest.fixture
def project(finished: Project, tmp_path: Path) -> Project:
    """A copy of the finished project to change."""
    return finished.copy_to(tmp_path / "project")


@pytest.fixture
def fresh(origin: Project, tmp_path: Path) -> Project:
    """A fresh clone, in which nothing was run yet."""
    return origin.clone_to(tmp_path / "clone")
